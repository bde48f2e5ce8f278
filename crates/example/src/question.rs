//! Asking the client: a person (elicitation), its model (sampling), or itself (roots).
//!
//! Handlers ask in one way and three things happen: in a session, a request goes to the client; without one (2026-07-28
//! MRTR), the answers are in the request, or the request ends with `input_required` and comes again; in a task, the
//! questions wait for `tasks/update`.

use mcp::{ErrorCode, ErrorReply};
use serde_json::{Map, Value, json};

use crate::call::{Call, Peer};
use crate::event_log::Outbox;
use crate::reply::{Members, Outcome};
use crate::session::Unanswered;

/// What is asked, and under which key its answer is found.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) key: &'static str,
    pub(crate) kind: Kind,
    pub(crate) params: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Elicitation,
    Sampling,
    Roots,
}

impl Kind {
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Elicitation => "elicitation/create",
            Self::Sampling => "sampling/createMessage",
            Self::Roots => "roots/list",
        }
    }

    pub(crate) fn capability(self) -> &'static str {
        match self {
            Self::Elicitation => "elicitation",
            Self::Sampling => "sampling",
            Self::Roots => "roots",
        }
    }

    /// Whether a value can be an answer; anything else is as good as none.
    pub(crate) fn accepts(self, answer: &Value) -> bool {
        match self {
            Self::Elicitation => {
                matches!(answer["action"].as_str(), Some("accept" | "decline" | "cancel"))
            }
            Self::Sampling => answer["content"].is_object() || answer["content"].is_array(),
            Self::Roots => answer["roots"].is_array(),
        }
    }
}

impl Question {
    /// Asks a person to fill in a form.
    pub(crate) fn form(key: &'static str, message: &str, schema: &Value) -> Self {
        let params = json!({"message": message, "requestedSchema": schema});
        Self { key, kind: Kind::Elicitation, params }
    }

    /// Asks a person for one text.
    pub(crate) fn text_field(key: &'static str, message: &str, field: &str) -> Self {
        let schema =
            json!({"type": "object", "properties": {field: {"type": "string"}}, "required": [field]});
        Self::form(key, message, &schema)
    }

    /// Asks the client's model.
    pub(crate) fn sample(key: &'static str, prompt: &str, max_tokens: u32) -> Self {
        let content = json!({"type": "text", "text": prompt});
        let params = json!({"messages": [{"role": "user", "content": content}], "maxTokens": max_tokens});
        Self { key, kind: Kind::Sampling, params }
    }

    pub(crate) fn roots(key: &'static str) -> Self {
        Self { key, kind: Kind::Roots, params: json!({}) }
    }

    pub(crate) fn request(&self) -> Value {
        json!({"method": self.kind.method(), "params": self.params})
    }
}

/// The answers by key.
pub(crate) type Answers = Map<String, Value>;

impl Call {
    /// Asks one question.
    ///
    /// # Errors
    /// How the request ends instead, see [`Call::ask_all`].
    pub(crate) async fn ask(&self, outbox: &Outbox, question: Question) -> Result<Value, Outcome> {
        let key = question.key;
        let mut answers = self.ask_all(outbox, &[question], None).await?;
        Ok(answers.remove(key).unwrap_or_default())
    }

    /// Asks several questions. `state` goes along where the client has to come back with the answers.
    ///
    /// # Errors
    /// How the request ends instead: the client cannot be asked, refuses, or has to come back.
    pub(crate) async fn ask_all(
        &self,
        outbox: &Outbox,
        questions: &[Question],
        state: Option<String>,
    ) -> Result<Answers, Outcome> {
        match &self.peer {
            Peer::Stateless => self.given_answers(questions, state),
            _ if !self.can_be_asked(questions) => Err(Outcome::failure("the client cannot be asked that")),
            Peer::Task(task) => Ok(task.ask(&self.server, questions).await),
            Peer::Session(session) => {
                let mut answers = Answers::new();
                for question in questions {
                    let answer = session.ask(outbox, question.kind.method(), &question.params).await;
                    answers.insert(question.key.to_owned(), answer.map_err(|why| unanswered(&why))?);
                }
                Ok(answers)
            }
        }
    }

    /// The answers that came with a request of 2026-07-28.
    ///
    /// # Errors
    /// As [`Call::ask_all`].
    pub(crate) fn given_answers(
        &self,
        questions: &[Question],
        state: Option<String>,
    ) -> Result<Answers, Outcome> {
        let mut params = self.params();
        let mut answers = Answers::new();
        for question in questions {
            let given = params["inputResponses"][question.key].take();
            if question.kind.accepts(&given) {
                answers.insert(question.key.to_owned(), given);
            }
        }
        let open: Vec<_> = questions.iter().filter(|asked| !answers.contains_key(asked.key)).collect();
        if open.is_empty() { Ok(answers) } else { Err(self.come_back_with(&open, state)) }
    }

    /// Ends this round of a request of 2026-07-28 with questions.
    pub(crate) fn come_back_with(&self, open: &[&Question], state: Option<String>) -> Outcome {
        let lacking = |question: &&&Question| !self.has_capability(question.kind.capability());
        let lacking: Map<_, _> = open
            .iter()
            .filter(lacking)
            .map(|asked| (asked.kind.capability().to_owned(), json!({})))
            .collect();
        if !lacking.is_empty() {
            return missing_capability(&Value::Object(lacking));
        }
        let requests: Map<_, _> = open.iter().map(|asked| (asked.key.to_owned(), asked.request())).collect();
        let mut members = json!({"inputRequests": requests});
        if let Some(state) = state {
            members["requestState"] = Value::from(state);
        }
        Outcome::InputRequired(Members::of(&members))
    }

    fn can_be_asked(&self, questions: &[Question]) -> bool {
        questions.iter().all(|question| self.has_capability(question.kind.capability()))
    }
}

/// The answer to a request that needs what the client did not declare.
pub(crate) fn missing_capability(required: &Value) -> Outcome {
    let message = format!("this request needs client capabilities {required}");
    let reply = ErrorReply::new(ErrorCode::MissingClientCapability, message);
    Outcome::Error(reply.with_data(json!({"requiredCapabilities": required})))
}

fn unanswered(why: &Unanswered) -> Outcome {
    match why {
        Unanswered::Refused(message) => Outcome::failure(&format!("the client refused: {message}")),
        Unanswered::SessionOver => Outcome::failure("the session ended before the client answered"),
        Unanswered::TooMany => Outcome::failure("too many questions to the client are open"),
    }
}
