//! One workload: a task that owns it. Orders come one after the other, so that whatever many commands ask at once, what
//! becomes of a workload is what one order of them says.
//!
//! What it should be is written down before it is done, and what it is after: a daemon that was killed in between finds on
//! its next start what to finish.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use model::workload::{Status, StatusRecord};
use model::{GroupName, RunConfig, Timestamp, WorkloadName};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use workload::backoff::{Backoff, BackoffPolicy, Next};

use super::foreign;
use super::site::{Before, Site};
use super::view::view;
use super::wire::{Problem, ProblemKind, WorkloadView};
use crate::serve::Serving;

/// Orders that may wait for one workload.
const QUEUE: usize = 64;
/// Whoever has a server started is answered after this long, ready or not.
const TO_BE_READY: Duration = Duration::from_secs(60);
/// How long a server that was not well may take to answer.
const TO_ANSWER: Duration = Duration::from_secs(10);
/// How often it is looked whether it can be used.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// When a server that ran, or was to run when the daemon began, is started again, and when it is left.
const AGAIN: BackoffPolicy = BackoffPolicy {
    base: Duration::from_secs(5),
    cap: Duration::from_secs(60),
    healthy_after: Duration::from_secs(30),
    give_up_after: 10,
};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Start,
    /// Requests under way may take so long; `None`: as long as its configuration says.
    Stop(Option<Duration>),
    Restart,
    /// Of a package, what was asked for is looked up anew first.
    Refresh,
    Remove,
    /// It belongs to this group from now on.
    Move(GroupName),
}

type Reply = oneshot::Sender<Result<WorkloadView, Problem>>;

struct Order {
    task: Task,
    reply: Reply,
}

/// How a task begins.
pub(super) enum Beginning {
    /// It was asked for just now: nothing of it is kept yet, and nothing will be if it fails.
    New(Reply),
    /// It was found in the files.
    Found(Option<StatusRecord>),
}

/// The way to a workload's task.
#[derive(Clone, Debug)]
pub(super) struct WorkloadHandle {
    orders: mpsc::Sender<Order>,
    view: watch::Receiver<WorkloadView>,
}

impl WorkloadHandle {
    /// Starts the task.
    pub(super) fn start(
        name: WorkloadName,
        config: RunConfig,
        beginning: Beginning,
        site: &Arc<Site>,
    ) -> Self {
        let (sender, orders) = mpsc::channel(QUEUE);
        let record = match &beginning {
            Beginning::New(_) | Beginning::Found(None) => {
                StatusRecord::new(Status::Stopped, SystemTime::now().into())
            }
            Beginning::Found(Some(record)) => record.clone(),
        };
        let view = view(&name, &config, &record, Timestamp::default());
        let (told, view) = watch::channel(view);
        let task = WorkloadTask {
            name,
            config,
            record,
            site: Arc::clone(site),
            serving: None,
            coming: None,
            is_asked: false,
            is_ready: false,
            started_at: Timestamp::default(),
            late_at: Instant::now(),
            backoff: Backoff::new(AGAIN),
            ready_at: None,
            again_at: None,
            waiting: Vec::new(),
            new: None,
            told,
        };
        site.tasks.spawn("workload", task.run(orders, beginning));
        Self { orders: sender, view }
    }

    /// What is known of it.
    pub(super) fn view(&self) -> WorkloadView {
        self.view.borrow().clone()
    }

    /// Whether this is what its task shows.
    pub(super) fn shows(&self, view: &watch::Receiver<WorkloadView>) -> bool {
        self.view.same_channel(view)
    }

    /// Has something done, and waits until it is.
    pub(super) async fn order(&self, task: Task) -> Result<WorkloadView, Problem> {
        let (reply, answer) = oneshot::channel();
        let name = self.view.borrow().name.clone();
        // A task that has ended has removed its workload.
        self.orders.send(Order { task, reply }).await.map_err(|_| Problem::not_found(&name))?;
        answer.await.map_err(|_| Problem::not_found(&name))?
    }
}

type Coming = Pin<Box<dyn Future<Output = Result<Box<Serving>, String>> + Send>>;

/// The task.
struct WorkloadTask {
    name: WorkloadName,
    config: RunConfig,
    record: StatusRecord,
    site: Arc<Site>,
    serving: Option<Serving>,
    /// It is being brought up, which may take as long as an installation does. Dropped, it is not any more.
    coming: Option<Coming>,
    /// Somebody wants it brought up now.
    is_asked: bool,
    is_ready: bool,
    /// Since when it runs.
    started_at: Timestamp,
    /// When those who wait for it are answered, ready or not.
    late_at: Instant,
    backoff: Backoff,
    /// Since when it answers.
    ready_at: Option<Instant>,
    /// It has failed, and is started again then.
    again_at: Option<Instant>,
    waiting: Vec<Reply>,
    /// It has not run yet: where it fails, nothing of it is kept.
    new: Option<Before>,
    told: watch::Sender<WorkloadView>,
}

enum Happened {
    Ordered(Order),
    /// The daemon ends, or forgets it.
    Closed,
    Failed(String),
    /// It is there, or why it is not.
    Came(Result<Box<Serving>, String>),
    /// It has answered, or why it has not.
    Greeted(Result<(), String>),
    Late,
    /// It is time to try again.
    Due,
    Looked(Result<(), String>),
    /// Its image is so far.
    Fetched(String),
}

/// Whether there is still a workload.
#[derive(PartialEq, Eq)]
enum Life {
    GoesOn,
    Over,
}

impl WorkloadTask {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>, beginning: Beginning) {
        if self.begin(beginning).await == Life::Over {
            return;
        }
        let stop = self.site.tasks.stop_token();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let happened = {
                let (greeted, failed) = (greeted(self.serving.as_ref()), failed(self.serving.as_ref()));
                let fetched = fetched(self.serving.as_ref(), &self.record.status_context);
                let looked = async {
                    looks.tick().await;
                    look(self.serving.as_ref(), self.record.status).await
                };
                tokio::select! {
                    biased;
                    () = stop.cancelled() => Happened::Closed,
                    order = orders.recv() => order.map_or(Happened::Closed, Happened::Ordered),
                    came = came(&mut self.coming) => Happened::Came(came),
                    why = failed => Happened::Failed(why),
                    greeted = greeted, if !self.is_ready => Happened::Greeted(greeted),
                    () = sleep_until(self.late_at), if !self.waiting.is_empty() => Happened::Late,
                    () = until(self.again_at) => Happened::Due,
                    looked = looked, if self.is_ready => Happened::Looked(looked),
                    words = fetched, if !self.is_ready => Happened::Fetched(words),
                }
            };
            let life = match happened {
                Happened::Ordered(order) => self.obey(order).await,
                Happened::Closed => return self.leave().await,
                Happened::Came(came) => self.came(came).await,
                Happened::Failed(why) => self.fail(why).await,
                Happened::Greeted(greeted) => self.greeted(greeted).await,
                Happened::Late => self.late().await,
                Happened::Due => self.bring_up().await,
                Happened::Looked(Ok(())) => self.becomes(Status::Running, "").await,
                Happened::Fetched(words) => self.fetched(words),
                Happened::Looked(Err(why)) => self.becomes(Status::Unhealthy, &why).await,
            };
            if life == Life::Over {
                return;
            }
        }
    }

    async fn begin(&mut self, beginning: Beginning) -> Life {
        match beginning {
            Beginning::New(reply) => self.begin_new(reply).await,
            Beginning::Found(_) if self.record.status == Status::Removing => match self.remove().await {
                Ok(()) => Life::Over,
                Err(_) => Life::GoesOn,
            },
            Beginning::Found(_) => {
                if let Some(process) = foreign::serves(&self.name, &self.record) {
                    self.record.status_context = foreign::told(process);
                    self.tell();
                } else if self.record.status.is_wanted() {
                    return self.bring_up().await;
                } else if self.record.status == Status::Stopping {
                    self.become_(Status::Stopped, "").await;
                }
                Life::GoesOn
            }
        }
    }

    /// All or nothing: what cannot be started the first time is not kept.
    async fn begin_new(&mut self, reply: Reply) -> Life {
        let before = self.site.before(&self.name);
        if let Err(problem) = self.site.files.create(&self.name, &self.config).await {
            self.site.forget(&self.name, &self.told.subscribe());
            let _ = reply.send(Err(problem));
            return Life::Over;
        }
        self.new = Some(before);
        self.waiting.push(reply);
        self.bring_up().await
    }

    /// It has answered for the first time, or said why it does not.
    async fn greeted(&mut self, greeted: Result<(), String>) -> Life {
        match greeted {
            Ok(()) => {
                (self.is_ready, self.ready_at, self.new) = (true, Some(Instant::now()), None);
                self.become_(Status::Running, "").await;
                self.answer_all(|view| Ok(view.clone()));
            }
            Err(why) if self.new.is_some() => return self.fail(why).await,
            Err(why) => {
                self.is_ready = true;
                self.become_(Status::Unhealthy, &why).await;
                self.answer_all(|_| Err(Problem::new(ProblemKind::Failed, why.clone())));
            }
        }
        Life::GoesOn
    }

    /// It takes longer than anybody should wait. One that was there goes on starting.
    async fn late(&mut self) -> Life {
        if self.coming.is_some() || self.serving.as_ref().is_some_and(Serving::is_fetching) {
            self.late_at = Instant::now() + TO_BE_READY;
            return Life::GoesOn;
        }
        if self.new.is_some() {
            return self.fail(format!("the server has not answered within {TO_BE_READY:?}")).await;
        }
        self.answer_all(|view| Ok(view.clone()));
        Life::GoesOn
    }

    /// Told, and not kept: whoever reads it later reads of what is past.
    fn fetched(&mut self, words: String) -> Life {
        self.record.status_context = words;
        self.tell();
        Life::GoesOn
    }

    async fn obey(&mut self, Order { task, reply }: Order) -> Life {
        if self.serving.is_none()
            && self.coming.is_none()
            && !matches!(task, Task::Move(_))
            && let Some(process) = foreign::serves(&self.name, &self.record)
        {
            let message = format!("{}: {}", self.name, foreign::told(process));
            let _ = reply.send(Err(Problem::new(ProblemKind::Failed, message)));
            return Life::GoesOn;
        }
        match task {
            Task::Start => self.start(reply).await,
            Task::Stop(drain) => {
                self.new = None;
                let stopped = self.stop(drain).await;
                let _ = reply.send(stopped);
            }
            Task::Restart => self.restart(reply).await,
            Task::Refresh => self.refresh(reply).await,
            Task::Remove => {
                self.become_(Status::Removing, "").await;
                self.answer_all(|_| Err(Problem::new(ProblemKind::Failed, "it was removed meanwhile")));
                self.put_down(None).await;
                let removed = self.remove().await;
                let is_over = removed.is_ok();
                let _ = reply.send(removed.map(|()| self.view()));
                return if is_over { Life::Over } else { Life::GoesOn };
            }
            Task::Move(group) => {
                let moved = self.site.files.keep_group(&self.name, &group).await;
                if moved.is_ok() {
                    group.as_str().clone_into(&mut self.config.group);
                    self.tell();
                }
                let _ = reply.send(moved.map(|()| self.view()));
            }
        }
        Life::GoesOn
    }

    async fn restart(&mut self, reply: Reply) {
        self.answer_all(|_| Err(Problem::new(ProblemKind::Failed, "it was started again meanwhile")));
        self.put_down(None).await;
        self.start(reply).await;
    }

    /// What runs goes on until the other version is installed, and if it cannot be.
    async fn refresh(&mut self, reply: Reply) {
        let mut config = self.config.clone();
        let refreshed = match self.site.refresh(&self.name, &mut config).await {
            Ok(false) => Ok(()),
            Ok(true) => self.site.files.keep_package(&self.name, &config).await,
            Err(why) => Err(Problem::new(ProblemKind::Failed, why)),
        };
        match refreshed {
            Ok(()) => {
                self.config = config;
                self.restart(reply).await;
            }
            Err(problem) => drop(reply.send(Err(problem))),
        }
    }

    /// Somebody wants it now, and hears where it does not start.
    async fn start(&mut self, reply: Reply) {
        if self.is_ready {
            let _ = reply.send(Ok(self.view()));
            return;
        }
        self.waiting.push(reply);
        if self.serving.is_none() && self.coming.is_none() {
            self.backoff = Backoff::new(AGAIN);
            self.bring_up().await;
        }
        self.is_asked = true;
    }

    async fn stop(&mut self, drain: Option<Duration>) -> Result<WorkloadView, Problem> {
        self.answer_all(|_| Err(Problem::new(ProblemKind::Failed, "it was stopped meanwhile")));
        if self.record.status != Status::Stopped {
            self.become_(Status::Stopping, "").await;
            self.put_down(drain).await;
            self.become_(Status::Stopped, "").await;
        }
        Ok(self.view())
    }

    /// Begins to start what is to run.
    async fn bring_up(&mut self) -> Life {
        (self.again_at, self.is_asked) = (None, false);
        let missing = self.site.missing(&self.config).map(|package| format!("installing {package}"));
        self.become_(Status::Starting, &missing.unwrap_or_default()).await;
        (self.is_ready, self.ready_at, self.late_at) = (false, None, Instant::now() + TO_BE_READY);
        let (site, name, config) = (Arc::clone(&self.site), self.name.clone(), self.config.clone());
        self.coming = Some(Box::pin(async move { site.serve(&name, &config).await.map(Box::new) }));
        Life::GoesOn
    }

    /// It is there and has not answered yet, or it cannot be.
    async fn came(&mut self, came: Result<Box<Serving>, String>) -> Life {
        self.coming = None;
        let serving = match came {
            Ok(serving) => serving,
            Err(why) if self.is_asked => {
                self.become_(Status::Error, &why).await;
                self.answer_all(|_| Err(Problem::new(ProblemKind::Failed, why.clone())));
                return Life::GoesOn;
            }
            Err(why) => return self.fail(why).await,
        };
        // What came before took its own time.
        self.late_at = Instant::now() + TO_BE_READY;
        // The port stays what it was the first time, as clients have it in their configuration.
        let port = serving.address().port();
        if self.config.port != port {
            self.config.port = port;
            if let Err(problem) = self.site.files.keep_port(&self.name, port).await {
                tracing::warn!(workload.name = %self.name, %problem, "its port will be another one next time");
            }
        }
        (self.serving, self.started_at) = (Some(*serving), SystemTime::now().into());
        self.tell();
        Life::GoesOn
    }

    /// Stops what runs, and waits for its end.
    async fn put_down(&mut self, drain: Option<Duration>) {
        (self.is_ready, self.again_at, self.coming) = (false, None, None);
        let Some(serving) = self.serving.take() else { return };
        self.started_at = Timestamp::default();
        let stopped = serving.stop_within(drain).await;
        if stopped.cut_connections > 0 || stopped.left_processes > 0 {
            let (connections, processes) = (stopped.cut_connections, stopped.left_processes);
            tracing::warn!(workload.name = %self.name, connections, processes, "did not end in time");
        }
    }

    /// It does not run: it is tried again for some time, if it ever has.
    async fn fail(&mut self, why: String) -> Life {
        self.put_down(None).await;
        let Some(before) = self.new.take() else {
            self.falter(&why).await;
            self.answer_all(|_| Err(Problem::new(ProblemKind::Failed, why.clone())));
            return Life::GoesOn;
        };
        let removed = self.site.take_back(&self.name, before).await;
        if let Err(problem) = &removed {
            tracing::error!(workload.name = %self.name, %problem, "what is left of it is not removed");
        }
        self.site.forget(&self.name, &self.told.subscribe());
        self.answer_all(|_| Err(Problem::new(ProblemKind::Failed, why.clone())));
        Life::Over
    }

    async fn falter(&mut self, why: &str) {
        let ran = self.ready_at.take().map_or(Duration::ZERO, |since| since.elapsed());
        let next = self.backoff.failed(ran, fastrand::f64());
        let (failures, most) = (self.backoff.failures(), AGAIN.give_up_after);
        match next {
            Next::RetryIn(delay) => {
                self.again_at = Some(Instant::now() + delay);
                let seconds = delay.as_secs() + 1;
                let context =
                    format!("{why}; started again within {seconds} s (try {failures} of {most} failed)");
                self.become_(Status::Starting, &context).await;
            }
            Next::GiveUp => {
                self.become_(Status::Error, &format!("{why}; given up after {most} tries")).await;
            }
        }
    }

    /// What somebody saw of it.
    async fn becomes(&mut self, status: Status, context: &str) -> Life {
        if self.record.status != status {
            self.become_(status, context).await;
        }
        Life::GoesOn
    }

    /// Takes away all that is kept of it, and itself.
    async fn remove(&mut self) -> Result<(), Problem> {
        self.become_(Status::Removing, "").await;
        if let Err(problem) = self.site.remove(&self.name).await {
            self.become_(Status::Error, &problem.message).await;
            return Err(problem);
        }
        self.site.forget(&self.name, &self.told.subscribe());
        Ok(())
    }

    /// The daemon ends: what runs stops, and is wanted as before.
    async fn leave(&mut self) {
        self.answer_all(|_| Err(Problem::leaving()));
        self.put_down(None).await;
    }

    /// Writes down and tells what it is now.
    async fn become_(&mut self, status: Status, context: &str) {
        let process = self.serving.as_ref().map_or(0, |_| std::process::id());
        match self.site.files.keep_status(&self.name, status, context, process).await {
            Ok(record) => self.record = record,
            Err(problem) => {
                tracing::error!(workload.name = %self.name, %problem, "what it is now is not kept");
                self.record.status = status;
                context.clone_into(&mut self.record.status_context);
            }
        }
        tracing::info!(workload.name = %self.name, %status, context, "workload");
        self.tell();
    }

    fn view(&self) -> WorkloadView {
        let metrics = self.serving.as_ref().and_then(Serving::metrics_address);
        let metrics_url = metrics.map(|address| format!("http://{address}/metrics")).unwrap_or_default();
        WorkloadView { metrics_url, ..view(&self.name, &self.config, &self.record, self.started_at.clone()) }
    }

    fn tell(&self) {
        let view = self.view();
        self.site.announce(&view);
        self.told.send_replace(view);
    }

    fn answer_all(&mut self, answer: impl Fn(&WorkloadView) -> Result<WorkloadView, Problem>) {
        let view = self.view();
        for reply in self.waiting.drain(..) {
            let _ = reply.send(answer(&view));
        }
    }
}

/// Waits for what is being brought up.
async fn came(coming: &mut Option<Coming>) -> Result<Box<Serving>, String> {
    match coming {
        Some(coming) => poll_fn(|cx| coming.as_mut().poll(cx)).await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Waits for a server to answer its first handshake.
async fn greeted(serving: Option<&Serving>) -> Result<(), String> {
    let Some(serving) = serving else { return std::future::pending().await };
    serving.ready().await;
    serving.greet(TO_BE_READY).await.map_err(|error| format!("the server does not answer: {error}"))
}

/// How far its image is, once that was not told yet.
async fn fetched(serving: Option<&Serving>, told: &str) -> String {
    match serving {
        Some(serving) => serving.fetched(told).await,
        None => std::future::pending().await,
    }
}

/// Whether it can be used. One of which that was not known is asked; one that works is not disturbed.
async fn look(serving: Option<&Serving>, status: Status) -> Result<(), String> {
    let Some(serving) = serving else { return std::future::pending().await };
    if !serving.is_usable() {
        return Err("the server does not run, or cannot be reached".to_owned());
    }
    match status {
        Status::Unhealthy => {
            serving.greet(TO_ANSWER).await.map_err(|error| format!("the server does not answer: {error}"))
        }
        _ => Ok(()),
    }
}

async fn failed(serving: Option<&Serving>) -> String {
    match serving {
        Some(serving) => serving.failed().await,
        None => std::future::pending().await,
    }
}
