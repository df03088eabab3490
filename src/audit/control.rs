//! What a front-end tells a running audit: stop, pause, cancel, and in which order attacks run.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::plan::AttackPlan;

/// The only way back into an audit. Front-end and engine share it; no call waits for the work.
#[derive(Debug, Default)]
pub struct Control {
    /// Shared with signal handlers.
    stop: Arc<AtomicBool>,
    orders: Mutex<Orders>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Orders {
    is_paused: bool,
    /// Whether attacks may still be added: the engine waits for them when nothing is left to do.
    is_open: bool,
    /// In the order in which they will run.
    queue: VecDeque<Waiting>,
    cancelled: BTreeSet<usize>,
    added: VecDeque<AttackPlan>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Its place in the plan.
    pub attack: usize,
    /// The first attack of the ε sweep that it belongs to.
    pub sweep: Option<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Next {
    /// Run the attack at this place of the plan.
    Run(usize),
    /// Say that the attack at this place was called off while it waited.
    Cancelled(usize),
    /// Put this attack behind the plan's.
    Add(AttackPlan),
    Nothing,
}

/// How often a wait looks at the stop flag, which no condition variable announces.
const GLANCE: Duration = Duration::from_millis(50);

impl Control {
    /// A control whose stop flag others, such as signal handlers, also hold.
    pub fn with_flag(stop: Arc<AtomicBool>) -> Self {
        Self { stop, ..Self::default() }
    }

    /// A control under which attacks may be added: the engine stays until [`close`](Self::close) or [`stop`](Self::stop).
    pub fn open() -> Self {
        Self { orders: Mutex::new(Orders { is_open: true, ..Orders::default() }), ..Self::default() }
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        // Orders are whole after each statement.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders());
        self.changed.notify_all();
    }

    /// Ends the audit soon: batches in work may finish within a grace period.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Lets the audit end when its queue is empty.
    pub fn close(&self) {
        self.change(|orders| orders.is_open = false);
    }

    /// Halts the attack in work at its next step, or lets it go on.
    pub(crate) fn pause(&self, is_paused: bool) {
        self.change(|orders| orders.is_paused = is_paused);
    }

    /// Calls off the attack at this place of the plan, whether it waits or runs.
    pub fn cancel(&self, attack: usize) {
        self.change(|orders| {
            orders.cancelled.insert(attack);
        });
    }

    pub(crate) fn is_cancelled(&self, attack: usize) -> bool {
        self.orders().cancelled.contains(&attack)
    }

    /// Asks for another attack behind those of the plan.
    pub fn add(&self, attack: AttackPlan) {
        self.change(|orders| orders.added.push_back(attack));
    }

    /// The attacks that wait, in the order in which they will run.
    pub(crate) fn waiting(&self) -> Vec<usize> {
        let orders = self.orders();
        orders.queue.iter().map(|it| it.attack).filter(|attack| !orders.cancelled.contains(attack)).collect()
    }

    /// Lets a waiting attack change places with the one that waits before it, or behind it. The attacks of a sweep keep their order, for the
    /// larger sizes build on the smaller ones.
    pub(crate) fn shift(&self, attack: usize, is_later: bool) {
        self.change(|orders| {
            let waits = |place: &usize| !orders.cancelled.contains(&orders.queue[*place].attack);
            let Some(place) = orders.queue.iter().position(|it| it.attack == attack) else { return };
            let other =
                if is_later { (place + 1..orders.queue.len()).find(waits) } else { (0..place).rev().find(waits) };
            let Some(other) = other else { return };
            let (mine, sweep) = (orders.queue[place], orders.queue[other].sweep);
            if mine.sweep.is_none() || mine.sweep != sweep {
                orders.queue.swap(place, other);
            }
        });
    }

    /// The engine's: these attacks wait now.
    pub(super) fn enqueue(&self, attacks: impl IntoIterator<Item = Waiting>) {
        self.change(|orders| orders.queue.extend(attacks));
    }

    /// The engine's: what comes next, without waiting. Added attacks come first, so that they can be seen to wait.
    pub(super) fn next(&self) -> Next {
        let mut orders = self.orders();
        if let Some(attack) = orders.added.pop_front() {
            return Next::Add(attack);
        }
        match orders.queue.pop_front() {
            Some(Waiting { attack, .. }) if orders.cancelled.contains(&attack) => Next::Cancelled(attack),
            Some(Waiting { attack, .. }) => Next::Run(attack),
            None => Next::Nothing,
        }
    }

    /// The engine's: waits until there is something to do. False if the audit ends instead.
    pub(super) fn wait_for_more(&self) -> bool {
        let mut orders = self.orders();
        while orders.is_open && orders.added.is_empty() && orders.queue.is_empty() && !self.is_stopped() {
            orders = self.glance(orders);
        }
        let has_work = !orders.added.is_empty() || !orders.queue.is_empty();
        has_work && !self.is_stopped()
    }

    /// The engine's: returns when the audit is not, or no longer, halted, or is to stop, or `is_over` says so. How long that took.
    pub(super) fn wait_while_paused(&self, is_over: &dyn Fn() -> bool) -> Duration {
        let mut orders = self.orders();
        if !orders.is_paused {
            return Duration::ZERO;
        }
        let since = Instant::now();
        while orders.is_paused && !self.is_stopped() && !is_over() {
            orders = self.glance(orders);
        }
        since.elapsed()
    }

    fn glance<'a>(&self, orders: MutexGuard<'a, Orders>) -> MutexGuard<'a, Orders> {
        self.changed.wait_timeout(orders, GLANCE).unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(control: &Control) -> Vec<Next> {
        std::iter::from_fn(|| Some(control.next()).filter(|next| *next != Next::Nothing)).collect()
    }

    #[test]
    fn attacks_run_in_the_order_asked_for_and_cancelled_ones_not_at_all() {
        let control = Control::default();
        control.enqueue((0..4).map(|attack| Waiting { attack, sweep: None }));
        control.shift(3, false);
        control.shift(0, false);
        control.cancel(1);
        assert_eq!(control.waiting(), [0, 3, 2]);
        assert_eq!(run(&control), [Next::Run(0), Next::Cancelled(1), Next::Run(3), Next::Run(2)]);
        assert!(!control.wait_for_more());
    }

    #[test]
    fn a_sweep_keeps_its_order_and_others_may_pass_it() {
        let control = Control::default();
        let sweeps = [Some(0), Some(0), None, Some(3), Some(3)];
        control.enqueue((0..).zip(sweeps).map(|(attack, sweep)| Waiting { attack, sweep }));
        control.shift(1, false);
        control.shift(0, true);
        assert_eq!(control.waiting(), [0, 1, 2, 3, 4]);
        control.shift(2, false);
        control.shift(1, true);
        assert_eq!(control.waiting(), [0, 2, 3, 1, 4]);
        // One that was called off is no neighbour any more: 3 meets 4 all the same.
        control.cancel(1);
        control.shift(4, false);
        assert_eq!(control.waiting(), [0, 2, 3, 4]);
        control.shift(3, false);
        control.shift(9, true);
        assert_eq!(control.waiting(), [0, 3, 2, 4]);
    }

    #[test]
    fn an_open_audit_waits_for_more_until_it_is_closed() {
        let control = Control::open();
        let more = AttackPlan::parse("fgsm").unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| control.add(more.clone()));
            assert!(control.wait_for_more());
            assert_eq!(control.next(), Next::Add(more.clone()));
            scope.spawn(|| control.close());
            assert!(!control.wait_for_more());
        });
    }

    #[test]
    fn a_pause_ends_by_going_on_or_by_stopping() {
        let control = Control::default();
        let never = || false;
        assert_eq!(control.wait_while_paused(&never), Duration::ZERO);
        control.pause(true);
        std::thread::scope(|scope| {
            scope.spawn(|| control.pause(false));
            control.wait_while_paused(&never);
            control.pause(true);
            scope.spawn(|| control.stop());
            control.wait_while_paused(&never);
        });
        assert!(control.is_stopped());
    }
}
