//! The engine with statements of its own: what it answers, and what a request that cannot be done leaves behind.

#![allow(clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use stepwell_store::{
    Answer, Asked, Change, Engine, Page, Request, Script, Value, Values, Waiter, Work,
    library_number,
};

const FORMAT: usize = 0;
const PUT: usize = 1;
const MOVE: usize = 2;
const ALL: usize = 3;
const BACK: usize = 4;
const LAST: usize = 5;
const TOUCH: usize = 6;

fn script() -> Script {
    let queries = [
        "SELECT name, value FROM meta",
        "INSERT INTO items (number, previous, seq, body) VALUES (?, ?, ?, ?)",
        "UPDATE items SET body = ?2 WHERE number = ?1",
        "SELECT number, body FROM items ORDER BY number",
        "SELECT number, previous, ?1 = 'mine', seq, body FROM items WHERE number <= ?2 ORDER BY number DESC",
        "SELECT max(number) FROM items",
        "UPDATE meta SET value = value + 1 WHERE name = 'asked_again'",
    ];
    let schema = [
        "CREATE TABLE meta (name TEXT NOT NULL, value INTEGER NOT NULL) STRICT",
        "INSERT INTO meta VALUES ('min_reader', 1), ('min_writer', 1)",
        "CREATE TABLE items (number INTEGER PRIMARY KEY, previous INTEGER, seq INTEGER, body BLOB) STRICT",
    ];
    Script {
        queries: queries.map(str::to_owned).into(),
        format: FORMAT,
        touch: TOUCH,
        schema: schema.map(str::to_owned).into(),
        migrations: Vec::new(),
    }
}

struct To(Sender<Answer>);

impl Waiter for To {
    fn settle(answers: Vec<(To, Answer)>) {
        for (To(sender), answer) in answers {
            sender.send(answer).expect("somebody waits");
        }
    }
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("stepwell-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(path).expect("a file");
    (found.dev(), found.ino())
}

#[cfg(not(unix))]
fn identity(_: &Path) -> (u64, u64) {
    (0, 0)
}

fn open(folder: &Folder) -> Engine<To> {
    let path = folder.0.join("items.db");
    std::fs::File::options().create(true).append(true).open(&path).expect("a file");
    let identity = identity(&path);
    Engine::start(path, identity, script(), Duration::from_secs(5), false).expect("a thread")
}

fn asked(values: &mut Values, statement: usize, give: impl FnOnce(&mut Values)) -> Asked {
    let first = values.next();
    give(values);
    values.asked(statement, first)
}

fn put(values: &mut Values, number: i64) -> Asked {
    asked(values, PUT, |values| {
        values.int(number);
        if number > 1 {
            values.int(number - 1);
        } else {
            values.null();
        }
        values.int(number - 1);
        values.blob(format!("body {number}").as_bytes());
    })
}

fn ask(engine: &Engine<To>, values: Values, work: Work) -> Receiver<Answer> {
    let (sender, receiver) = channel();
    engine.ask(Request { values, work }, To(sender));
    receiver
}

fn change(engine: &Engine<To>, numbers: &[i64]) -> Receiver<Answer> {
    let mut values = Values::default();
    let mut change = Change::default();
    for number in numbers {
        change.then(put(&mut values, *number));
    }
    change.end_part();
    ask(engine, values, Work::Change { power: true, change })
}

fn rows(engine: &Engine<To>) -> Vec<Vec<Value>> {
    let mut values = Values::default();
    let query = asked(&mut values, ALL, |_| {});
    match ask(engine, values, Work::Query { query, exists: None }).recv() {
        Ok(Answer::Rows(rows)) => rows,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_library_is_one_that_is_safe_in_wal_mode() {
    assert!(library_number() >= stepwell_store::SAFE_LIBRARY);
}

#[test]
fn a_change_that_cannot_be_done_leaves_others_alone() {
    let folder = Folder::new("alone");
    let engine = open(&folder);
    let answers = [
        change(&engine, &[1, 2]),
        change(&engine, &[2]), // there is one already
        change(&engine, &[3]),
    ];
    let answers = answers.map(|answer| answer.recv().expect("an answer"));
    assert!(matches!(&answers[0], Answer::Counts(counts) if counts == &[2]), "{answers:?}");
    assert!(
        matches!(&answers[1], Answer::Trouble(trouble, _) if trouble.code == "io"),
        "{answers:?}"
    );
    assert!(matches!(&answers[2], Answer::Counts(counts) if counts == &[1]), "{answers:?}");
    assert_eq!(rows(&engine).len(), 3);
    engine.stop();
}

#[test]
fn a_guard_that_changes_nothing_lets_nothing_happen() {
    let folder = Folder::new("guard");
    let engine = open(&folder);
    change(&engine, &[1]).recv().expect("an answer");
    for (number, opens) in [(7, false), (1, true)] {
        let mut values = Values::default();
        let mut change = Change::default();
        change.guard(asked(&mut values, MOVE, |values| {
            values.int(number);
            values.blob(b"moved");
        }));
        change.then(put(&mut values, 2));
        change.end_part();
        change.otherwise(asked(&mut values, ALL, |_| {}));
        let work = Work::Change { power: false, change };
        let answer = ask(&engine, values, work).recv().expect("an answer");
        assert_eq!(matches!(answer, Answer::Changed), opens, "{answer:?}");
        assert_eq!(matches!(answer, Answer::Refused(_)), !opens, "{answer:?}");
        assert_eq!(rows(&engine).len(), if opens { 2 } else { 1 });
    }
    engine.stop();
}

#[test]
fn a_page_has_the_first_records_of_what_is_wanted() {
    let folder = Folder::new("page");
    let engine = open(&folder);
    let numbers: Vec<i64> = (1..=9).collect();
    change(&engine, &numbers).recv().expect("an answer");
    let page = |whose: &str, after: i64, most_rows: usize, joined: bool| {
        let mut values = Values::default();
        let start = asked(&mut values, LAST, |_| {});
        let back = asked(&mut values, BACK, |values| values.text(whose));
        let page = Page { back, after, most_rows, most_bytes: 1 << 20, joined };
        ask(&engine, values, Work::Follow { start, page }).recv().expect("an answer")
    };
    match page("mine", 3, 2, true) {
        Answer::Joined(Some((last, texts))) => {
            let mut found = vec![0; texts.joined_len()];
            texts.join_into(&mut found);
            assert_eq!((last, found.as_slice()), (5, b"body 5\nbody 6\n".as_slice()));
        }
        other => panic!("{other:?}"),
    }
    match page("mine", 6, 10, false) {
        Answer::Rows(rows) => {
            let seqs: Vec<Option<&Value>> = rows.iter().map(|row| row.first()).collect();
            assert_eq!(seqs, [Some(&Value::Int(7)), Some(&Value::Int(8))]);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(page("mine", 8, 10, true), Answer::Joined(None)));
    assert!(
        matches!(page("another's", 0, 10, true), Answer::Trouble(trouble, _) if trouble.code == "broken")
    );
    engine.stop();
}

#[test]
fn what_is_asked_after_the_end_is_answered_too() {
    let folder = Folder::new("end");
    let engine = Arc::new(open(&folder));
    engine.stop();
    let answer = change(&engine, &[1]).recv().expect("an answer");
    assert!(matches!(answer, Answer::Trouble(trouble, _) if trouble.code == "stopped"));
}
