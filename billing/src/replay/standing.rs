//! What operators have used up in a replay, and decisions that can be used again while that has not changed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use policy::{Limit, Money, PolicySnapshot, Standing};

/// Budgets and debts by the log's own clock.
#[derive(Default)]
pub(super) struct Usage {
    now_secs: i64,
    month: i32,
    month_ends_secs: i64,
    /// Requests and bytes of each rule's budget, operator, and period.
    windows: HashMap<Window, (u64, u64)>,
    /// Nano-units owed by each operator in each month.
    owed: HashMap<(Arc<str>, i32), i128>,
}

/// A rule, an operator, and the start of a period.
type Window = (Arc<str>, Arc<str>, i64);

/// The most windows that are kept. Logs are nearly in the order of time, so the oldest are over.
const WINDOWS_MAX: usize = 100_000;

impl Usage {
    pub(super) fn set_now(&mut self, secs: i64) {
        self.now_secs = secs;
        // Months are looked up once a day of the log.
        if secs >= self.month_ends_secs || secs < self.month_ends_secs - 86_400 {
            self.month = metrics::month_of(secs.saturating_mul(1_000_000));
            self.month_ends_secs = secs.saturating_sub(secs.rem_euclid(86_400)).saturating_add(86_400);
        }
    }

    pub(super) fn count(&mut self, limit: &Limit, operator: &Arc<str>, bytes: u64) {
        if self.windows.len() >= WINDOWS_MAX {
            let day_ago = self.now_secs.saturating_sub(86_400);
            self.windows.retain(|(_, _, start), _| *start >= day_ago);
        }
        let start = self.period_start(limit);
        let window = self.windows.entry((limit.rule.clone(), operator.clone(), start)).or_default();
        window.0 += 1;
        window.1 += bytes;
    }

    pub(super) fn owe(&mut self, operator: &Arc<str>, nano: i64) {
        if nano != 0 {
            *self.owed.entry((operator.clone(), self.month)).or_default() += i128::from(nano);
        }
    }

    /// Periods are aligned to the Unix epoch.
    fn period_start(&self, limit: &Limit) -> i64 {
        let period = i64::try_from(limit.period_secs).unwrap_or(i64::MAX).max(1);
        self.now_secs - self.now_secs.rem_euclid(period)
    }

    fn exhausted(&self, limit: &Limit, operator: &str) -> bool {
        let key = (limit.rule.clone(), Arc::from(operator), self.period_start(limit));
        let (requests, bytes) = self.windows.get(&key).copied().unwrap_or_default();
        limit.requests.is_some_and(|budget| requests >= budget)
            || limit.bytes.is_some_and(|budget| bytes >= budget)
    }

    fn affords(&self, policy: &PolicySnapshot, operator: &str, amount: Money) -> bool {
        let Some(account) = policy.account(operator) else { return false };
        let owed = self.owed.get(&(account.operator.clone(), self.month)).copied().unwrap_or(0);
        amount.currency == account.credit_limit.currency
            && owed + i128::from(amount.nano.max(0)) <= i128::from(account.credit_limit.nano)
    }
}

/// What a decision asked of the standing, and the answer it got. A decision is a function of the fetch and of these
/// answers, so it can be used again as long as they are the same.
#[derive(Clone, Debug)]
pub(super) enum Question {
    Exhausted { limit: Limit, operator: Arc<str>, answer: bool },
    Affords { operator: Arc<str>, amount: Money, answer: bool },
}

impl Question {
    pub(super) fn has_same_answer(&self, usage: &Usage, policy: &PolicySnapshot) -> bool {
        match self {
            Question::Exhausted { limit, operator, answer } => usage.exhausted(limit, operator) == *answer,
            Question::Affords { operator, amount, answer } => {
                usage.affords(policy, operator, *amount) == *answer
            }
        }
    }
}

/// The standing that a decision sees; it remembers the questions.
pub(super) struct Witness<'u> {
    pub(super) usage: &'u Usage,
    pub(super) policy: &'u PolicySnapshot,
    pub(super) questions: RefCell<Vec<Question>>,
}

impl Standing for Witness<'_> {
    fn exhausted(&self, limit: &Limit, operator: &str) -> Option<u64> {
        let answer = self.usage.exhausted(limit, operator);
        let question = Question::Exhausted { limit: limit.clone(), operator: Arc::from(operator), answer };
        self.questions.borrow_mut().push(question);
        answer.then_some(1)
    }

    fn affords(&self, operator: &str, amount: Money) -> bool {
        let answer = self.usage.affords(self.policy, operator, amount);
        let question = Question::Affords { operator: Arc::from(operator), amount, answer };
        self.questions.borrow_mut().push(question);
        answer
    }
}
