//! Every MCP method there is, in one table: who sends it, in which revisions, what it names, whether it may be sent
//! again after its outcome was lost, and how long it may take.
//!
//! Sources: the schemas of the five revisions; "safe to resend" is the read-only list of `mcp-protocol.md` §22.

use crate::Revision;
use Revision::{V2024_11_05, V2025_03_26, V2025_06_18, V2025_11_25, V2026_07_28};

/// Who may send the method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ClientToServer,
    ServerToClient,
    Both,
}

/// Whether a request whose outcome is unknown may be sent a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resend {
    /// It reads, or setting it twice is setting it once.
    Safe,
    /// It may act: only where the operator says so (annotations trusted, or the tool named).
    ByPolicy,
    /// Never by an intermediary: a handshake, or a message whose answer has another owner.
    Never,
}

/// Which parameter says what the method is about; the `Mcp-Name` header mirrors it (2026-07-28).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    None,
    /// `params.name`
    Name,
    /// `params.uri`
    Uri,
    /// `params.taskId`
    TaskId,
}

/// How long an answer may take: what deadline an intermediary puts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Start of a session.
    Handshake,
    /// Answered from what the server holds.
    Prompt,
    /// Runs something; takes as long as it takes.
    Work,
    /// Ends when somebody ends it.
    Endless,
    /// Not answered at all.
    Notification,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct MethodInfo {
    pub method: Method,
    /// The name on the wire.
    pub wire: &'static str,
    pub direction: Direction,
    /// First and last revision that has it.
    pub revisions: (Revision, Revision),
    pub resend: Resend,
    pub target: Target,
    pub pace: Pace,
}

macro_rules! methods {
    ($($variant:ident $wire:literal $direction:ident $since:ident..=$until:ident $resend:ident $target:ident $pace:ident;)*) => {
        /// A method by name; [`Method::Other`] for what no revision defines.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Method {
            $(#[doc = concat!("`", $wire, "`")] $variant,)*
            /// Not in any revision: passed on as it is.
            Other,
        }

        /// All rows, in the order of [`Method`]'s variants.
        pub const METHODS: &[MethodInfo] = &[
            $(MethodInfo {
                method: Method::$variant,
                wire: $wire,
                direction: Direction::$direction,
                revisions: ($since, $until),
                resend: Resend::$resend,
                target: Target::$target,
                pace: Pace::$pace,
            },)*
        ];

        impl Method {
            /// The method of a wire name, compared exactly.
            #[must_use]
            pub fn from_wire(name: &[u8]) -> Self {
                $(if name == $wire.as_bytes() { return Self::$variant; })*
                Self::Other
            }
        }
    };
}

methods! {
    ToolsCall             "tools/call"                        ClientToServer V2024_11_05..=V2026_07_28 ByPolicy Name   Work;
    ToolsList             "tools/list"                        ClientToServer V2024_11_05..=V2026_07_28 Safe     None   Prompt;
    Initialize            "initialize"                        ClientToServer V2024_11_05..=V2025_11_25 Never    None   Handshake;
    Ping                  "ping"                              Both           V2024_11_05..=V2025_11_25 Safe     None   Prompt;
    ResourcesList         "resources/list"                    ClientToServer V2024_11_05..=V2026_07_28 Safe     None   Prompt;
    ResourceTemplatesList "resources/templates/list"          ClientToServer V2024_11_05..=V2026_07_28 Safe     None   Prompt;
    ResourcesRead         "resources/read"                    ClientToServer V2024_11_05..=V2026_07_28 Safe     Uri    Work;
    ResourcesSubscribe    "resources/subscribe"               ClientToServer V2024_11_05..=V2025_11_25 Safe     None   Prompt;
    ResourcesUnsubscribe  "resources/unsubscribe"             ClientToServer V2024_11_05..=V2025_11_25 Safe     None   Prompt;
    PromptsList           "prompts/list"                      ClientToServer V2024_11_05..=V2026_07_28 Safe     None   Prompt;
    PromptsGet            "prompts/get"                       ClientToServer V2024_11_05..=V2026_07_28 Safe     Name   Work;
    CompletionComplete    "completion/complete"               ClientToServer V2025_03_26..=V2026_07_28 Safe     None   Work;
    LoggingSetLevel       "logging/setLevel"                  ClientToServer V2024_11_05..=V2025_11_25 Safe     None   Prompt;
    ServerDiscover        "server/discover"                   ClientToServer V2026_07_28..=V2026_07_28 Safe     None   Prompt;
    SubscriptionsListen   "subscriptions/listen"              ClientToServer V2026_07_28..=V2026_07_28 Safe     None   Endless;
    TasksGet              "tasks/get"                         Both           V2025_11_25..=V2026_07_28 Safe     TaskId Prompt;
    TasksResult           "tasks/result"                      Both           V2025_11_25..=V2025_11_25 Safe     None   Work;
    TasksList             "tasks/list"                        Both           V2025_11_25..=V2025_11_25 Safe     None   Prompt;
    TasksCancel           "tasks/cancel"                      Both           V2025_11_25..=V2026_07_28 ByPolicy TaskId Prompt;
    TasksUpdate           "tasks/update"                      ClientToServer V2026_07_28..=V2026_07_28 Safe     TaskId Prompt;
    SamplingCreateMessage "sampling/createMessage"            ServerToClient V2024_11_05..=V2025_11_25 Never    None   Work;
    ElicitationCreate     "elicitation/create"                ServerToClient V2025_06_18..=V2025_11_25 Never    None   Work;
    RootsList             "roots/list"                        ServerToClient V2024_11_05..=V2025_11_25 Never    None   Work;
    Initialized           "notifications/initialized"         ClientToServer V2024_11_05..=V2025_11_25 Safe     None   Notification;
    Cancelled             "notifications/cancelled"           Both           V2024_11_05..=V2026_07_28 Never    None   Notification;
    Progress              "notifications/progress"            Both           V2024_11_05..=V2026_07_28 Never    None   Notification;
    RootsListChanged      "notifications/roots/list_changed"  ClientToServer V2024_11_05..=V2025_11_25 Safe     None   Notification;
    LogMessage            "notifications/message"             ServerToClient V2024_11_05..=V2026_07_28 Never    None   Notification;
    ResourceUpdated       "notifications/resources/updated"   ServerToClient V2024_11_05..=V2026_07_28 Never    None   Notification;
    ResourcesListChanged  "notifications/resources/list_changed" ServerToClient V2024_11_05..=V2026_07_28 Never None  Notification;
    ToolsListChanged      "notifications/tools/list_changed"  ServerToClient V2024_11_05..=V2026_07_28 Never    None   Notification;
    PromptsListChanged    "notifications/prompts/list_changed" ServerToClient V2024_11_05..=V2026_07_28 Never   None   Notification;
    ElicitationComplete   "notifications/elicitation/complete" ServerToClient V2025_11_25..=V2025_11_25 Never   None   Notification;
    TasksStatus           "notifications/tasks/status"        Both           V2025_11_25..=V2025_11_25 Never    None   Notification;
    TasksChanged          "notifications/tasks"               ServerToClient V2026_07_28..=V2026_07_28 Never    None   Notification;
    SubscriptionsAcknowledged "notifications/subscriptions/acknowledged" ServerToClient V2026_07_28..=V2026_07_28 Never None Notification;
}

impl Method {
    /// The row of this method; `None` for [`Method::Other`].
    #[must_use]
    pub fn info(self) -> Option<&'static MethodInfo> {
        METHODS.get(self as usize)
    }

    /// The wire name, `"other"` where no revision knows the method. Fit for a metric label: the set is closed.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.info().map_or("other", |info| info.wire)
    }

    /// See [`Resend`]. An unknown method may act.
    #[must_use]
    pub fn resend(self) -> Resend {
        self.info().map_or(Resend::ByPolicy, |info| info.resend)
    }

    /// See [`Target`].
    #[must_use]
    pub fn target(self) -> Target {
        self.info().map_or(Target::None, |info| info.target)
    }

    /// See [`Pace`]. An unknown method is given the time of one that works.
    #[must_use]
    pub fn pace(self) -> Pace {
        self.info().map_or(Pace::Work, |info| info.pace)
    }

    /// Whether `revision` has this method. Unknown ones may be extensions, so they are in all.
    #[must_use]
    pub fn is_in(self, revision: Revision) -> bool {
        self.info().is_none_or(|info| (info.revisions.0..=info.revisions.1).contains(&revision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_at_the_place_of_its_variant_and_is_found_by_its_name() {
        for (place, row) in METHODS.iter().enumerate() {
            assert_eq!(row.method as usize, place);
            assert_eq!(Method::from_wire(row.wire.as_bytes()), row.method);
            assert_eq!(
                row.wire.starts_with("notifications/"),
                row.pace == Pace::Notification,
                "{}",
                row.wire
            );
            assert!(row.revisions.0 <= row.revisions.1, "{}", row.wire);
        }
        assert_eq!(METHODS.len(), Method::Other as usize);
        assert_eq!(Method::Other.info().map(|row| row.wire), None);
    }

    #[test]
    fn names_are_case_sensitive_and_exact() {
        for name in ["Tools/call", "tools/call ", "tools", "", "notifications/task"] {
            assert_eq!(Method::from_wire(name.as_bytes()), Method::Other, "{name:?}");
        }
    }

    #[test]
    fn only_reads_and_idempotent_settings_are_safe_to_resend() {
        let acts = [
            Method::ToolsCall,
            Method::TasksCancel,
            Method::Initialize,
            Method::SamplingCreateMessage,
            Method::Other,
        ];
        for method in acts {
            assert_ne!(method.resend(), Resend::Safe, "{method:?}");
        }
        for method in [
            Method::ToolsList,
            Method::ResourcesRead,
            Method::PromptsGet,
            Method::Ping,
            Method::LoggingSetLevel,
        ] {
            assert_eq!(method.resend(), Resend::Safe, "{method:?}");
        }
    }

    #[test]
    fn modern_has_no_handshake_and_legacy_no_discovery() {
        assert!(!Method::Initialize.is_in(Revision::V2026_07_28));
        assert!(!Method::ServerDiscover.is_in(Revision::V2025_11_25));
        assert!(Method::Other.is_in(Revision::V2024_11_05));
    }
}
