//! The thread of a file, and how requests reach it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::connection::{Place, Script};
use crate::session::{Answer, Change, Request, Session, Work};
use crate::trouble::Trouble;
use crate::values::Values;

const MAX_BATCH: usize = 1024;
const PATIENCE: Duration = Duration::from_micros(100);

/// How often it is looked before others get the processor between two looks.
const LOOKS: u32 = 64;

/// Looks for something for a while: to wake a thread that sleeps takes as long as a small commit.
pub fn look<T>(time: Duration, mut find: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        for _ in 0..LOOKS {
            if let Some(found) = find() {
                return Some(found);
            }
            std::hint::spin_loop();
        }
        if start.elapsed() >= time {
            return None;
        }
        std::thread::yield_now();
    }
}

/// Who waits for an answer.
pub trait Waiter: Send + Sized + 'static {
    /// Hands out answers: all that came of one transaction at once.
    fn settle(answers: Vec<(Self, Answer)>);
}

/// A request and who waits for its answer.
pub struct Job<W> {
    pub request: Request,
    pub waiter: W,
    /// It failed once already, together with others or alone.
    again: bool,
}

enum Message<W> {
    Do(Job<W>),
    Stop,
}

/// Memory of changes that were made, for others: what one thread takes and another gives back costs both of them more.
#[derive(Clone, Default)]
struct Spare(Arc<Mutex<Vec<(Values, Change)>>>);

impl Spare {
    fn take(&self) -> Option<(Values, Change)> {
        self.0.lock().ok()?.pop()
    }

    fn keep(&self, done: Vec<Request>) {
        let Ok(mut kept) = self.0.lock() else { return };
        for request in done {
            let mut values = request.values;
            if let Work::Change { mut change, .. } = request.work
                && kept.len() < MAX_BATCH
                && values.clear()
            {
                change.clear();
                kept.push((values, change));
            }
        }
    }
}

/// One file and its thread, which alone holds the connection.
pub struct Engine<W: Waiter> {
    sender: Sender<Message<W>>,
    waiting: Arc<AtomicUsize>,
    waiting_bytes: Arc<AtomicUsize>,
    spare: Spare,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<W: Waiter> Engine<W> {
    /// Starts the thread; the file is opened with the first request.
    pub fn start(
        path: PathBuf,
        identity: (u64, u64),
        script: Script,
        busy: Duration,
        read_only: bool,
    ) -> std::io::Result<Engine<W>> {
        let (sender, receiver) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let place = Place { path, identity, busy, read_only };
        let later = VecDeque::new();
        let queue = Queue {
            receiver,
            waiting: Arc::clone(&waiting),
            waiting_bytes: Arc::clone(&waiting_bytes),
            later,
            stopped: false,
        };
        let spare = Spare::default();
        let server = Server { place, script, queue, spare: spare.clone() };
        let thread = std::thread::Builder::new()
            .name("stepwell-store".to_owned())
            .spawn(move || server.serve())?;
        Ok(Engine { sender, waiting, waiting_bytes, spare, thread: Mutex::new(Some(thread)) })
    }

    /// Empty values and an empty change, in memory that was used before if there is some.
    pub fn spare(&self) -> Option<(Values, Change)> {
        self.spare.take()
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many bytes of values wait with them.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    /// Asks for something; the answer comes through the waiter.
    pub fn ask(&self, request: Request, waiter: W) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.waiting_bytes.fetch_add(request.values.size(), Ordering::Relaxed);
        if let Err(unsent) = self.sender.send(Message::Do(Job { request, waiter, again: false })) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            if let Message::Do(job) = unsent.0 {
                fail(vec![job], &Trouble::new("stopped"));
            }
        }
    }

    /// Ends the thread behind everything that was asked.
    pub fn stop(&self) {
        // Where the thread is gone already there is nothing to tell it.
        let _ = self.sender.send(Message::Stop);
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread {
            // A panic of the thread was answered where it happened.
            let _ = thread.join();
        }
    }
}

struct Server<W> {
    place: Place,
    script: Script,
    queue: Queue<W>,
    spare: Spare,
}

impl<W: Waiter> Server<W> {
    fn serve(mut self) {
        while let Some(batch) = self.queue.next() {
            match self.place.open(&self.script) {
                Err(trouble) => fail(batch, &trouble),
                Ok(db) => {
                    let mut session = Session::new(&db, &self.place, &self.script);
                    if !converse(&mut session, &self.place, &mut self.queue, &self.spare, batch) {
                        return;
                    }
                }
            }
        }
    }
}

/// Answers batches until there are no more (`false`), or until the connection has to be given up (`true`).
fn converse<W: Waiter>(
    session: &mut Session<'_>,
    place: &Place,
    queue: &mut Queue<W>,
    spare: &Spare,
    first: Vec<Job<W>>,
) -> bool {
    let mut batch = Some(first);
    while let Some(jobs) = batch.take().or_else(|| queue.next()) {
        if let Err(trouble) = place.check() {
            fail(jobs, &trouble);
            return true;
        }
        if let Err((failure, jobs)) = answer(session, spare, jobs) {
            session.roll_back();
            queue.put_back(jobs, &failure);
            return true;
        }
    }
    false
}

struct Failure {
    trouble: Trouble,
    /// Whether it is those that are left over that it happened to.
    theirs: bool,
}

/// Answers what can be answered, and gives back what is left over.
fn answer<W: Waiter>(
    session: &mut Session<'_>,
    spare: &Spare,
    jobs: Vec<Job<W>>,
) -> Result<(), (Failure, Vec<Job<W>>)> {
    let mut answers: Vec<Option<Answer>> = jobs.iter().map(|_| None).collect();
    let filled = catch_unwind(AssertUnwindSafe(|| fill(session, &jobs, &mut answers)));
    let filled = filled.unwrap_or_else(|_| {
        Err(Failure { trouble: Trouble::about("internal", "a panic"), theirs: true })
    });
    let mut done = Vec::with_capacity(jobs.len());
    let mut used = Vec::with_capacity(jobs.len());
    let mut left = Vec::new();
    for (job, answer) in jobs.into_iter().zip(answers) {
        match answer {
            Some(answer) => {
                done.push((job.waiter, answer));
                used.push(job.request);
            }
            None => left.push(job),
        }
    }
    if !done.is_empty() {
        W::settle(done);
        spare.keep(used);
    }
    filled.map_err(|failure| (failure, left))
}

fn fill<W>(
    session: &mut Session<'_>,
    jobs: &[Job<W>],
    answers: &mut [Option<Answer>],
) -> Result<(), Failure> {
    let mut writes = 0;
    let mut power = false;
    for (job, slot) in jobs.iter().zip(answers.iter_mut()) {
        if job.request.writes() {
            writes += 1;
            power |= job.request.needs_power();
            continue;
        }
        match session.read(&job.request) {
            Ok(answer) => *slot = Some(answer),
            Err(trouble) => {
                *slot = Some(Answer::Trouble(trouble.clone(), None));
                return Err(Failure { trouble, theirs: false });
            }
        }
    }
    if writes == 0 {
        return Ok(());
    }
    let requests = jobs.iter().map(|job| &job.request).filter(|request| request.writes());
    let written =
        session.write(requests, power).map_err(|trouble| Failure { trouble, theirs: true })?;
    let empty = answers.iter_mut().filter(|slot| slot.is_none());
    for (slot, answer) in empty.zip(written) {
        *slot = Some(answer);
    }
    Ok(())
}

fn fail<W: Waiter>(jobs: Vec<Job<W>>, trouble: &Trouble) {
    let failed = jobs
        .into_iter()
        .map(|job| (job.waiter, Answer::Trouble(trouble.clone(), Some(Box::new(job.request)))));
    W::settle(failed.collect());
}

/// What waits to be done.
struct Queue<W> {
    receiver: Receiver<Message<W>>,
    waiting: Arc<AtomicUsize>,
    waiting_bytes: Arc<AtomicUsize>,
    /// What could not be done together with others and is tried again, one after the other.
    later: VecDeque<Job<W>>,
    stopped: bool,
}

impl<W: Waiter> Queue<W> {
    /// All that waits; nothing when there is no more to come.
    fn next(&mut self) -> Option<Vec<Job<W>>> {
        if let Some(job) = self.later.pop_front() {
            return Some(vec![job]);
        }
        if self.stopped {
            return None;
        }
        let mut batch = Vec::new();
        let mut message = self.wait();
        loop {
            match message {
                Ok(Message::Do(job)) => batch.push(job),
                Err(TryRecvError::Empty) => break,
                Ok(Message::Stop) | Err(TryRecvError::Disconnected) => {
                    self.stopped = true;
                    break;
                }
            }
            if batch.len() == MAX_BATCH {
                break;
            }
            message = self.receiver.try_recv();
        }
        let bytes = batch.iter().map(|job| job.request.values.size()).sum();
        self.waiting.fetch_sub(batch.len(), Ordering::Relaxed);
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if batch.is_empty() { None } else { Some(batch) }
    }

    /// The next message.
    fn wait(&self) -> Result<Message<W>, TryRecvError> {
        let found = look(PATIENCE, || match self.receiver.try_recv() {
            Err(TryRecvError::Empty) => None,
            found => Some(found),
        });
        if let Some(found) = found {
            return found;
        }
        self.receiver.recv().map_err(|_| TryRecvError::Disconnected)
    }

    /// After a trouble: whether it was the commit that failed or something before it, every request can be made again
    /// and does its work once. One after the other, so that a bad one does not take the others with it.
    fn put_back(&mut self, jobs: Vec<Job<W>>, failure: &Failure) {
        let lasting = failure.theirs && failure.trouble.is_lasting();
        let (hopeless, again): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|job| lasting || (failure.theirs && job.again));
        self.later
            .extend(again.into_iter().map(|job| Job { again: job.again | failure.theirs, ..job }));
        if !hopeless.is_empty() {
            fail(hopeless, &failure.trouble);
        }
    }
}
