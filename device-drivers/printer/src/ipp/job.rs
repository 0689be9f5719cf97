//! One print job: handed over once and only once, followed to the paper, canceled when it is given
//! up.
//!
//! A job's name is its ticket. When an answer is lost, the printer's own list says whether the job
//! arrived; it is sent again only when the list does not have it.

use std::time::Duration;

use kiosk_device::{Action, Completion, Context, Fault};

use super::endpoint::{UploadError, is_success, malformed, refused};
use super::message::{Answer, GROUP_JOB, Operation};
use super::{Event, PDF, PageDocument, PagePrinter};

/// Wait for the answer to a cancellation, which comes when the deadline has passed. Chosen below the
/// margin after which the supervisor takes the driver for hanging.
const CANCEL_LIMIT: Duration = Duration::from_secs(2);
/// The same for each of the three exchanges that find and cancel a job.
const FORGET_LIMIT: Duration = Duration::from_secs(1);
/// How often a job is asked for (§6.1).
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Questions in a row that may fail before a running job is given up. Chosen.
const MISSES_MAX: u32 = 3;
/// How often a busy printer is asked to take the document. Chosen; the deadline bounds it as well.
const SUBMISSIONS_MAX: u32 = 20;
/// Jobs of the printer's list that are looked at. Chosen: ours is one of the newest.
const LISTED_JOBS_MAX: i32 = 20;
/// Looks at a job that ended with too few pages: some printers count late. Chosen.
const SETTLING_LOOKS: u32 = 2;
/// Looks in a row at which the device must rest before a spooler's word is believed. Chosen: one
/// could fall between the spooler's last byte and the motor.
const RESTS_MIN: u32 = 2;

const STATUS_TEMPORARY: [u16; 4] = [0x0502, 0x0505, 0x0506, 0x0507];
const JOB_STOPPED: i32 = 6;
const JOB_CANCELED: i32 = 7;
const JOB_ABORTED: i32 = 8;
const JOB_COMPLETED: i32 = 9;

const JOB_ATTRIBUTES: &[&str] = &[
    "job-state",
    "job-state-reasons",
    "job-impressions-completed",
];

/// A job in the printer and what is known of it.
pub(super) struct Job {
    id: i32,
    pages: u32,
    impressions: u32,
    stopped: Option<Fault>,
    /// The queue is done with it; the device may not be.
    is_completed: bool,
    short_looks: u32,
    rests: u32,
}

/// Whether a job is in the printer's list.
enum Search {
    Found(i32),
    NotThere,
    /// The list does not tell names.
    Unknown,
}

impl Job {
    pub(super) fn new(id: i32, document: &PageDocument) -> Self {
        Self {
            id,
            pages: document.pages - document.first_page + 1,
            impressions: 0,
            stopped: None,
            is_completed: false,
            short_looks: 0,
            rests: 0,
        }
    }
}

impl PagePrinter {
    /// Hands the document over; the job's number in the printer.
    pub(super) fn submit(
        &mut self,
        document: &PageDocument,
        context: &Context<'_, Event>,
    ) -> Result<i32, Completion> {
        let ticket = self.next_ticket();
        let mut misses = 0;
        let mut may_have_arrived = false;
        let mut trouble = Fault::new(
            "printer.busy",
            Action::Reset,
            "the printer stays busy with other jobs",
        );
        for _ in 0..SUBMISSIONS_MAX {
            context.check().inspect_err(|_| {
                if may_have_arrived {
                    self.forget(&ticket);
                }
            })?;
            if may_have_arrived {
                match self.find(&ticket) {
                    Ok(Search::Found(id)) => return Ok(id),
                    Ok(Search::NotThere) => may_have_arrived = false,
                    Ok(Search::Unknown) => return Err(Completion::Failed(unknown_fate())),
                    Err(fault) => {
                        misses += 1;
                        if misses >= MISSES_MAX {
                            tracing::warn!(code = fault.code, "job not found again");
                            return Err(Completion::Failed(unknown_fate()));
                        }
                        context.pause(POLL_INTERVAL)?;
                        continue;
                    }
                }
            }
            let message = self.print_job(document, &ticket);
            match self.queue.upload(&message, document.pdf.expose(), context) {
                Ok(answer) if is_success(answer.status) => {
                    return self.job_of(&answer, &ticket);
                }
                Ok(answer) if self.queue.falls_back(&answer) => {}
                Ok(answer) if STATUS_TEMPORARY.contains(&answer.status) => {
                    trouble = refused(answer.status);
                    context.pause(POLL_INTERVAL)?;
                }
                Ok(answer) => return Err(Completion::Failed(refused(answer.status))),
                Err(UploadError::Ended(completion)) => {
                    self.forget(&ticket);
                    return Err(completion);
                }
                Err(UploadError::NotSent(fault)) => {
                    misses += 1;
                    if misses >= MISSES_MAX {
                        return Err(Completion::Failed(fault));
                    }
                    context.pause(POLL_INTERVAL)?;
                }
                Err(UploadError::Lost(fault)) => {
                    tracing::warn!(code = fault.code, "the answer to a document was lost");
                    misses += 1;
                    may_have_arrived = true;
                    trouble = fault;
                    if misses >= MISSES_MAX {
                        break;
                    }
                    context.pause(POLL_INTERVAL)?;
                }
            }
        }
        if may_have_arrived {
            self.forget(&ticket);
        }
        Err(Completion::Failed(trouble))
    }

    /// The number of a job that was accepted.
    fn job_of(&mut self, answer: &Answer, ticket: &str) -> Result<i32, Completion> {
        if let Some(id) = answer.number("job-id") {
            return Ok(id);
        }
        match self.find(ticket) {
            Ok(Search::Found(id)) => Ok(id),
            Ok(Search::NotThere | Search::Unknown) | Err(_) => {
                Err(Completion::Failed(malformed("the answer has no job-id")))
            }
        }
    }

    fn print_job(&mut self, document: &PageDocument, ticket: &str) -> Vec<u8> {
        let bounded = |page: u32| i32::try_from(page).unwrap_or(i32::MAX);
        let mut request = self
            .queue
            .request(Operation::PrintJob)
            // Neither name says whose document it is: printers keep job lists.
            .name("requesting-user-name", "kiosk")
            .name("job-name", ticket);
        if document.first_page > 1 {
            // All pages again would be worse than a refusal.
            request = request.boolean_true("ipp-attribute-fidelity");
        }
        request = request
            .mime_type("document-format", PDF)
            .group(GROUP_JOB)
            .integer("copies", 1)
            .keyword("media", "iso_a4_210x297mm")
            .keyword("sides", "one-sided")
            .keyword("print-color-mode", "monochrome");
        if document.first_page > 1 {
            request = request.range(
                "page-ranges",
                bounded(document.first_page),
                bounded(document.pages),
            );
        }
        request.finish()
    }

    fn list_jobs(&mut self, which: &str) -> Vec<u8> {
        self.queue
            .request(Operation::GetJobs)
            .name("requesting-user-name", "kiosk")
            .integer("limit", LISTED_JOBS_MAX)
            .keyword("which-jobs", which)
            .keywords("requested-attributes", &["job-id", "job-name"])
            .finish()
    }

    /// Looks for the job of this ticket, among those that wait and those that are done.
    fn find(&mut self, ticket: &str) -> Result<Search, Fault> {
        let mut is_nameless = false;
        for which in ["not-completed", "completed"] {
            let request = self.list_jobs(which);
            let answer = self.queue.exchange(&request, FORGET_LIMIT * 2)?;
            if !is_success(answer.status) {
                return Ok(Search::Unknown);
            }
            for job in answer.jobs() {
                match job.name.as_deref() {
                    Some(name) if name == ticket => return Ok(Search::Found(job.id)),
                    Some(_) => {}
                    None => is_nameless = true,
                }
            }
        }
        Ok(if is_nameless {
            Search::Unknown
        } else {
            Search::NotThere
        })
    }

    /// Cancels a job that may have arrived although nobody said so. Else it would come out in front
    /// of the next person.
    fn forget(&mut self, ticket: &str) {
        let request = self.list_jobs("not-completed");
        let found = self.queue.exchange(&request, FORGET_LIMIT).map(|answer| {
            let mut jobs = answer.jobs().into_iter();
            jobs.find(|job| job.name.as_deref() == Some(ticket))
        });
        match found {
            Ok(Some(job)) => self.cancel(job.id, FORGET_LIMIT),
            Ok(None) => {}
            Err(fault) => tracing::warn!(code = fault.code, "job not looked for"),
        }
    }

    fn cancel(&mut self, job: i32, limit: Duration) {
        let request = self
            .queue
            .request(Operation::CancelJob)
            .integer("job-id", job)
            .name("requesting-user-name", "kiosk")
            .finish();
        match self.queue.exchange(&request, limit) {
            Ok(answer) if is_success(answer.status) => {}
            Ok(answer) => tracing::warn!(status = answer.status, "job not canceled"),
            Err(fault) => tracing::warn!(code = fault.code, "job not canceled"),
        }
    }

    /// Follows the job to its end.
    pub(super) fn follow(&mut self, job: &mut Job, context: &Context<'_, Event>) -> Completion {
        let mut misses = 0;
        loop {
            if let Err(completion) = context.pause(POLL_INTERVAL) {
                if !job.is_completed {
                    // Else it would come out in front of the next person.
                    self.cancel(job.id, CANCEL_LIMIT);
                }
                return match (completion, job.stopped.take()) {
                    (Completion::TimeOut, Some(fault)) => Completion::Failed(fault),
                    (completion, _) => completion,
                };
            }
            self.hurry(Some(context.remaining()));
            let result = self.look(job, context);
            self.hurry(None);
            match result {
                Ok(Some(completion)) => return completion,
                Ok(None) => misses = 0,
                Err(fault) => {
                    misses += 1;
                    if misses == MISSES_MAX {
                        self.cancel(job.id, CANCEL_LIMIT);
                        return Completion::Failed(fault);
                    }
                }
            }
        }
    }

    /// One look at the job: its completion when it has ended.
    fn look(
        &mut self,
        job: &mut Job,
        context: &Context<'_, Event>,
    ) -> Result<Option<Completion>, Fault> {
        let id = job.id;
        let answer = self.queue.ask(|queue| {
            queue
                .request(Operation::GetJobAttributes)
                .integer("job-id", id)
                .name("requesting-user-name", "kiosk")
                .keywords("requested-attributes", JOB_ATTRIBUTES)
                .finish()
        })?;
        if !is_success(answer.status) {
            return Err(refused(answer.status));
        }
        let state = answer
            .number("job-state")
            .ok_or_else(|| malformed("the answer has no job-state"))?;
        let impressions = answer
            .number("job-impressions-completed")
            .and_then(|count| u32::try_from(count).ok());
        if let Some(impressions_completed) = impressions.filter(|count| *count > job.impressions) {
            job.impressions = impressions_completed;
            context.emit(Event::Progress {
                impressions_completed,
            });
        }
        match state {
            JOB_COMPLETED => {
                job.is_completed = true;
                let has_errors = answer.texts("job-state-reasons").any(|reason| {
                    reason == "job-completed-with-errors" || reason == "completed-with-errors"
                });
                self.completed(job, has_errors, context)
            }
            JOB_CANCELED | JOB_ABORTED => Ok(Some(self.ended_early(state))),
            _ => {
                self.look_at_printer(job, state, context)?;
                Ok(None)
            }
        }
    }

    /// Whether a job that the queue calls completed is on paper.
    fn completed(
        &mut self,
        job: &mut Job,
        has_errors: bool,
        context: &Context<'_, Event>,
    ) -> Result<Option<Completion>, Fault> {
        // A printer that counts pages and counted too few has not printed them all; zero means that
        // it does not count.
        let is_short = job.impressions > 0 && job.impressions < job.pages;
        if is_short && !has_errors && job.short_looks < SETTLING_LOOKS {
            job.short_looks += 1;
            return Ok(None);
        }
        if has_errors || is_short {
            return Ok(Some(Completion::Failed(self.cause().unwrap_or_else(
                || {
                    Fault::new(
                        "printer.pages-missing",
                        Action::Reset,
                        format!("{} of {} pages came out", job.impressions, job.pages),
                    )
                },
            ))));
        }
        let is_counted = job.impressions >= job.pages;
        if is_counted && self.witnesses.is_empty() {
            if job.stopped.take().is_some() {
                context.emit(Event::Resumed);
            }
            return Ok(Some(Completion::Success));
        }
        // Nobody counted, or only the spooler did: the device has the last word.
        let is_busy = self.look_at_printer(job, JOB_COMPLETED, context)?;
        if job.stopped.is_some() || is_busy {
            job.rests = 0;
            return Ok(None);
        }
        job.rests += 1;
        let rests_enough = self.witnesses.is_empty() || job.rests >= RESTS_MIN;
        Ok(rests_enough.then_some(Completion::Success))
    }

    fn ended_early(&mut self, state: i32) -> Completion {
        let (code, detail) = if state == JOB_CANCELED {
            ("printer.job-canceled", "the job was canceled at the device")
        } else {
            ("printer.job-aborted", "the printer gave the job up")
        };
        let fault = self.cause();
        Completion::Failed(fault.unwrap_or_else(|| Fault::new(code, Action::Reset, detail)))
    }

    /// What the device itself gives as the reason, if it does.
    fn cause(&mut self) -> Option<Fault> {
        let sight = self.observe().ok()?;
        sight.status.faults.into_iter().next()
    }

    /// Tells stops and resumptions of a job that has not ended. True while a witness sees the device
    /// at work.
    fn look_at_printer(
        &mut self,
        job: &mut Job,
        state: i32,
        context: &Context<'_, Event>,
    ) -> Result<bool, Fault> {
        if context.check().is_err() {
            // Its end has come: no further question.
            return Ok(true);
        }
        let sight = self.observe()?;
        let mut fault = sight.status.faults.into_iter().next();
        if fault.is_none() && state == JOB_STOPPED {
            fault = Some(Fault::new(
                "printer.stopped",
                Action::Maintenance,
                "the job stopped and the printer does not say why",
            ));
        }
        match (&fault, &job.stopped) {
            (Some(new), Some(old)) if new.code == old.code => {}
            (Some(new), _) => context.emit(Event::Stopped(new.clone())),
            (None, Some(_)) => context.emit(Event::Resumed),
            (None, None) => {}
        }
        job.stopped = fault;
        Ok(sight.is_busy)
    }
}

/// Nobody can say whether the document was printed, so it is not sent again.
fn unknown_fate() -> Fault {
    Fault::new(
        "printer.job-unknown",
        Action::Clear,
        "the answer was lost and the printer does not tell whether it has the document",
    )
}
