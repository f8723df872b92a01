//! Libraries of others, in the languages that they were written in: a process that answers a JSON object a line.
//!
//! `make deps` installs them. Where they are missing a test fails: an oracle that nobody asked has not agreed.

#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "the crate itself may not")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// What a script is written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Language {
    /// Python, of `.venv`.
    Python,
    /// JavaScript, for Node.
    Node,
}

/// A running one; ends with its value.
pub struct Oracle {
    process: Child,
    asked: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Oracle {
    /// A script of `e2e/python`.
    pub fn python(script: &str) -> Oracle {
        Oracle::start(Language::Python, script, &[])
    }

    /// A script of `e2e/node`.
    pub fn node(script: &str) -> Oracle {
        Oracle::start(Language::Node, script, &[])
    }

    /// A script with arguments.
    pub fn start(language: Language, script: &str, arguments: &[&Path]) -> Oracle {
        let (interpreter, script) = match language {
            Language::Python => (".venv/bin/python", format!("e2e/python/{script}")),
            Language::Node => ("node", format!("e2e/node/{script}")),
        };
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let program = if interpreter.contains('/') { top.join(interpreter) } else { interpreter.into() };
        let started = Command::new(&program)
            .arg(top.join(script))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut process =
            started.unwrap_or_else(|error| panic!("{}: {error}; `make deps` installs it", program.display()));
        let asked = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("a pipe"));
        Oracle { process, asked, answers }
    }

    /// Asks one question.
    pub fn ask(&mut self, question: &Value) -> Value {
        let asked = self.asked.as_mut().expect("it runs");
        // If nobody reads it, there is no answer either.
        let _ = writeln!(asked, "{question}").and_then(|()| asked.flush());
        self.hear()
    }

    /// What it says next.
    pub fn hear(&mut self) -> Value {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line);
        assert!(
            read.is_ok_and(|bytes| bytes > 0),
            "the oracle is gone, its own words are above; `make deps` installs what it needs"
        );
        serde_json::from_str(&line).expect("an answer is JSON")
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // Without questions it ends.
        self.asked = None;
        let _ = self.process.wait();
    }
}

/// Now, in Unix seconds: these libraries judge by the clock.
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    since.as_secs() as i64
}
