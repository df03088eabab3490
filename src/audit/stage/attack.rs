//! Runs one attack over its samples, in batches on several workers.
//!
//! Small networks gain nothing from many threads on one batch and lose much when a thread is late. So on the processor each worker has a
//! batch and a thread of its own; on a GPU there is one worker. Results do not depend on either.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use advmod_attacks::config::AttackConfig;
use advmod_attacks::error::AttackError;
use advmod_attacks::execute::{Options, Samples, execute};
use advmod_attacks::outcome::{Outcome, SampleOutcome};
use advmod_attacks::query::Progress;
use advmod_attacks::victim::{Victim as _, VictimError};
use crossbeam_channel::{RecvTimeoutError, Sender, unbounded};
use tch::{Device, Kind, TchError, Tensor};

use super::attacked::{Attacked, Judged};
use super::carry::Broken;
use super::panic_line;
use crate::audit::control::Control;
use crate::audit::event::SampleResult;
use crate::measure;
use crate::measure::clean::probabilities;
use crate::measure::pixels::ImagePixels;
use crate::model::Model;
use crate::model::upload::to_device;

pub(crate) struct AttackJob<'a> {
    pub model: &'a Model,
    pub config: &'a AttackConfig,
    pub source: ImagePixels<'a>,
    /// What smaller sizes of the same sweep have broken.
    pub smaller: Option<&'a Broken>,
    pub options: Options,
    /// Most samples in work at once.
    pub batch: usize,
    pub threads: usize,
    /// Says when to halt or to call the attack off.
    pub control: &'a Control,
    /// The attack's place in the plan.
    pub place: usize,
}

#[derive(Debug)]
pub(crate) enum StageError {
    Stopped(Attacked),
    Failed(String),
}

impl From<TchError> for StageError {
    fn from(error: TchError) -> Self {
        Self::Failed(format!("libtorch: {}", advmod_attacks::victim::first_line(&error)))
    }
}

const TICK: Duration = Duration::from_millis(100);

/// How long the batches in work may go on after a wish to stop. Docker kills a container 10 s after its SIGTERM, and GitHub's runners send
/// a second signal after 7.5 s: the reports must be written before that.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// Attacks all samples. `on_batch` gets the batches' results in sample order; `progress(done)` counts thousandths of samples.
///
/// After a `Break` from either no batch is begun, and those in work are given up at their next step once [`GRACE`] is over; finished
/// batches are handed over all the same. When the device runs out of memory a batch is halved. A panic in libtorch's bindings ends the
/// attack, not the program.
pub(crate) fn run(
    job: &AttackJob<'_>,
    progress: &mut measure::Progress<'_>,
    on_batch: &mut dyn FnMut(Judged<'_>) -> ControlFlow<()>,
) -> Result<Attacked, StageError> {
    let n = job.source.places.len();
    // What a random network draws is in order only where one batch comes after the other.
    let is_parallel = job.model.device() == Device::Cpu && !job.model.is_random();
    let workers = if is_parallel { job.threads.clamp(1, n.max(1)) } else { 1 };
    let length = job.batch.min(n).div_ceil(workers).max(1);
    let shared = Shared {
        ranges: (0..n).step_by(length).map(|start| start..(start + length).min(n)).collect(),
        next: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        give_up: AtomicBool::new(false),
        done: AtomicU64::new(0),
    };
    let (sender, results) = unbounded();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            // Tensors may move to another thread but not be shared with it: each worker has its own handles on the same weights.
            let (model, sender, shared) = (job.model.share(), sender.clone(), &shared);
            let task = Task { config: job.config, source: &job.source, options: job.options, control: job.control };
            scope.spawn(move || {
                if model.device() == Device::Cpu {
                    tch::set_num_threads(1);
                }
                work(task, &model, shared, &sender);
            });
        }
        drop(sender);
        let mut done = Collected::default();
        let mut early: BTreeMap<usize, Vec<Outcome>> = BTreeMap::new();
        let mut failure = None;
        let mut asked: Option<Instant> = None;
        loop {
            match results.recv_timeout(TICK) {
                Ok(Done { outcomes: Err(error), .. }) => {
                    shared.stop.store(true, Ordering::Relaxed);
                    failure.get_or_insert(StageError::Failed(error.to_string()));
                }
                Ok(Done { batch, outcomes: Ok(outcomes), seconds }) => {
                    done.seconds = done.seconds.max(seconds);
                    early.insert(batch, outcomes);
                }
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            // In sample order, whichever worker was first.
            while let Some(outcomes) = early.remove(&done.batches) {
                let range = shared.ranges[done.batches].clone();
                // The other workers must not go on for a result that nobody will get.
                let batch = done.take(job, range, outcomes).inspect_err(|_| shared.give_up())?;
                if on_batch(batch).is_break() {
                    asked.get_or_insert_with(Instant::now);
                }
            }
            if progress(shared.done.load(Ordering::Relaxed)).is_break() || job.control.is_cancelled(job.place) {
                asked.get_or_insert_with(Instant::now);
            }
            if let Some(since) = asked {
                shared.stop.store(true, Ordering::Relaxed);
                if since.elapsed() >= GRACE {
                    shared.give_up();
                }
            }
        }
        // Batches behind one that was given up or that failed.
        for (batch, outcomes) in early {
            // The run ends here, whatever the answer.
            let _ = on_batch(done.take(job, shared.ranges[batch].clone(), outcomes)?);
        }
        let complete = done.batches == shared.ranges.len();
        let attacked = done.finish(job)?;
        match failure {
            Some(failure) => Err(failure),
            None if complete => Ok(attacked),
            None => Err(StageError::Stopped(attacked)),
        }
    })
}

/// What the workers share.
struct Shared {
    ranges: Vec<Range<usize>>,
    next: AtomicUsize,
    /// No batch is begun any more.
    stop: AtomicBool,
    /// Those in work end at their next step, without a result.
    give_up: AtomicBool,
    done: AtomicU64,
}

impl Shared {
    fn give_up(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.give_up.store(true, Ordering::Relaxed);
    }
}

/// What a worker says of one of its batches.
struct Done {
    batch: usize,
    outcomes: Result<Vec<Outcome>, AttackError>,
    seconds: f64,
}

/// What a worker does to each of its batches.
#[derive(Clone, Copy)]
struct Task<'a> {
    config: &'a AttackConfig,
    source: &'a ImagePixels<'a>,
    options: Options,
    control: &'a Control,
}

/// Takes batches until there are none left or somebody says stop.
fn work(task: Task<'_>, model: &Model, shared: &Shared, sender: &Sender<Done>) {
    let mut seconds = 0.0;
    let is_over = || shared.stop.load(Ordering::Relaxed);
    while !is_over() {
        let batch = shared.next.fetch_add(1, Ordering::Relaxed);
        let Some(range) = shared.ranges.get(batch) else { break };
        let whole = 1000 * range.len() as u64;
        let mut told = 0;
        let mut halted = Duration::ZERO;
        let mut step = |it: Progress| {
            let now = whole * u64::from(it.step) / u64::from(it.n_steps.max(1));
            shared.done.fetch_add(now.saturating_sub(told), Ordering::Relaxed);
            told = told.max(now);
            halted += task.control.wait_while_paused(&is_over);
            if shared.give_up.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let outcomes = attack_range(task, model, range.clone(), &mut step);
        if matches!(outcomes, Err(AttackError::Cancelled)) {
            break;
        }
        shared.done.fetch_add(whole - told, Ordering::Relaxed);
        if let Ok(outcomes) = &outcomes {
            let attacked: f64 = outcomes.iter().map(|outcome| outcome.cost.attack_seconds).sum();
            seconds += (attacked - halted.as_secs_f64()).max(0.0);
        }
        if sender.send(Done { batch, outcomes, seconds }).is_err() {
            break;
        }
    }
}

fn attack_range(
    task: Task<'_>,
    model: &Model,
    range: Range<usize>,
    step: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Vec<Outcome>, AttackError> {
    let run = || {
        let (pixels, labels) = task.source.batch(range.clone()).map_err(VictimError::from)?;
        let ids: Vec<u32> = task.source.places[range.clone()].iter().map(|&place| place as u32).collect();
        model.seed(task.options.seed, task.source.places[range.start]);
        let samples = Samples { pixels: &pixels, labels: &labels, ids: &ids };
        execute(model, task.config, &samples, task.options, step)
    };
    // Arithmetic on tensors panics where libtorch refuses it.
    let outcome = catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|panic| Err(VictimError::from_message(panic_line(panic.as_ref())).into()));
    match outcome {
        Err(AttackError::Victim(VictimError::OutOfMemory { .. })) if range.len() > 1 => {
            let middle = range.start + range.len() / 2;
            let mut outcomes = attack_range(task, model, range.start..middle, step)?;
            outcomes.extend(attack_range(task, model, middle..range.end, step)?);
            Ok(outcomes)
        }
        outcome => Ok(vec![outcome?]),
    }
}

/// Batches so far, in sample order.
#[derive(Default)]
struct Collected {
    batches: usize,
    pixels: Vec<Tensor>,
    results: Vec<SampleResult>,
    seconds: f64,
}

impl Collected {
    /// Takes in the next batch, which comes back as it was judged.
    fn take(
        &mut self,
        job: &AttackJob<'_>,
        range: Range<usize>,
        outcomes: Vec<Outcome>,
    ) -> Result<Judged<'_>, TchError> {
        self.batches += 1;
        let (results, pixels) = (self.results.len(), self.pixels.len());
        let mut places = job.source.places[range].iter();
        for outcome in outcomes {
            // An image that was right at the first look and is wrong at the second needs no attack: it counts, with no change.
            let counts = |sample: &SampleOutcome| sample.attacked || sample.clean.prediction != sample.label;
            let attacked: Vec<i64> =
                (0_i64..).zip(&outcome.samples).filter(|(_, sample)| counts(sample)).map(|(row, _)| row).collect();
            let rows = to_device(&Tensor::f_from_slice(&attacked)?, outcome.adversarial.device())?;
            let pixels = to_device(&outcome.adversarial.f_index_select(0, &rows)?, Device::Cpu)?;
            let samples = outcome.samples.iter().zip(places.by_ref()).filter(|(sample, _)| counts(sample));
            for (row, (sample, &place)) in (0_i64..).zip(samples) {
                let own = result(place, sample, job.model.is_random());
                self.results.push(match job.smaller.and_then(|smaller| smaller.instead_of(&own)) {
                    Some((carried, carried_pixels)) => {
                        pixels.f_narrow(0, row, 1)?.f_copy_(carried_pixels)?;
                        carried
                    }
                    None => own,
                });
            }
            self.pixels.push(pixels);
        }
        Ok(Judged { results: &self.results[results..], pixels: &self.pixels[pixels..] })
    }

    fn finish(self, job: &AttackJob<'_>) -> Result<Attacked, TchError> {
        let [_, channels, height, width] = job.source.images.shape.map(|size| size as i64);
        let none = Tensor::f_zeros([0, channels, height, width], (Kind::Float, Device::Cpu))?;
        let pixels: Vec<&Tensor> = std::iter::once(&none).chain(&self.pixels).collect();
        let pixels = Tensor::f_cat(&pixels, 0)?;
        Ok(Attacked::of(self.results, pixels, self.seconds))
    }
}

fn result(place: usize, sample: &SampleOutcome, is_random: bool) -> SampleResult {
    let is_met = match sample.target {
        Some(target) => sample.clean.prediction == target,
        None => true,
    };
    SampleResult {
        sample: place,
        success: sample.success || (!sample.attacked && is_met),
        wrong: is_random.then_some(sample.adversarial.wrong),
        prediction: sample.adversarial.prediction as u32,
        likeliest: probabilities(&sample.adversarial.likeliest),
        target: sample.target.map(|target| target as u32),
        l0: sample.l0 as u32,
        l2: sample.l2,
        linf: sample.linf,
        forwards: sample.forwards,
        backwards: sample.backwards,
        zero_gradients: sample.zero_gradients,
        nonfinite_gradients: sample.nonfinite_gradients,
        nonfinite_logits: !sample.adversarial.is_finite,
        fallbacks: sample.fallbacks,
        overshoot: sample.overshoot,
        // After rounding to 8 bits a success that the attack saw may be none.
        forwards_to_success: sample.forwards_to_success.filter(|_| sample.success),
        carried_from: None,
    }
}

#[cfg(test)]
mod tests {
    use advmod_attacks::attack::{Attack, Batch, BudgetAttack, Passes, Preset, Scale};
    use advmod_attacks::query::Query;
    use advmod_attacks::threat::Ball;

    use super::*;
    use crate::data::OpenOptions;
    use crate::model::load::{LoadOptions, load};

    /// Goes farther than it may, on every other sample.
    #[derive(Debug)]
    struct Careless;

    impl BudgetAttack for Careless {
        fn most_passes(&self, _: &Scale) -> Passes {
            Passes::default()
        }

        fn run(&self, _: &mut Query<'_>, batch: &Batch<'_>, _: Ball) -> Result<Tensor, AttackError> {
            let step: Vec<f32> = batch.ids.iter().map(|id| if id % 2 == 0 { 0.5 } else { 0.0 }).collect();
            Ok(batch.pixels - Tensor::from_slice(&step).reshape([-1, 1, 1, 1]))
        }
    }

    #[test]
    fn a_pause_halts_the_attack_and_is_not_counted_and_calling_it_off_ends_it() {
        let model = load(None, &LoadOptions::default(), Device::Cpu).unwrap();
        let images =
            crate::data::open(None, &OpenOptions::default()).unwrap().read(&(0..32).collect::<Vec<_>>()).unwrap();
        let params = "steps = 6".parse().unwrap();
        let config = AttackConfig::new("pgd", Preset::Standard, &params).unwrap();
        let places: Vec<usize> = (0..32).collect();
        let control = Control::default();
        let job = AttackJob {
            model: &model,
            config: &config,
            source: ImagePixels { images: &images, places: &places, device: Device::Cpu },
            smaller: None,
            options: Options { seed: 0, eight_bit: false },
            batch: 16,
            threads: 1,
            control: &control,
            place: 7,
        };
        let go_on = ControlFlow::Continue(());
        let halt = Duration::from_secs(2);
        let mut halted_at: Option<Instant> = None;
        let begun = Instant::now();
        let mut progress = |_| {
            match halted_at {
                None => {
                    control.pause(true);
                    halted_at = Some(Instant::now());
                }
                Some(at) if at.elapsed() >= halt => control.pause(false),
                Some(_) => (),
            }
            go_on
        };
        let attacked = run(&job, &mut progress, &mut |_| go_on).unwrap();
        let wall = begun.elapsed().as_secs_f64();
        // The first batch may be at its last step when the pause begins; the second cannot be through.
        assert!(attacked.samples.len() >= 30 && wall >= halt.as_secs_f64(), "{wall}");
        assert!(attacked.seconds < wall - 0.9 * halt.as_secs_f64(), "{} of {wall}", attacked.seconds);

        control.cancel(7);
        let Err(StageError::Stopped(rest)) = run(&job, &mut |_| go_on, &mut |_| go_on) else { panic!("it went on") };
        assert!(rest.samples.len() < attacked.samples.len());
    }

    #[test]
    fn an_attack_that_leaves_its_budget_is_noticed_and_put_back() {
        let model = load(None, &LoadOptions::default(), Device::Cpu).unwrap();
        let images =
            crate::data::open(None, &OpenOptions::default()).unwrap().read(&(0..20).collect::<Vec<_>>()).unwrap();
        let mut config = AttackConfig::new("fgsm", Preset::Standard, &toml::Table::new()).unwrap();
        config.attack = Attack::Budget(Box::new(Careless));
        let places: Vec<usize> = (0..20).collect();
        let job = AttackJob {
            model: &model,
            config: &config,
            source: ImagePixels { images: &images, places: &places, device: Device::Cpu },
            smaller: None,
            options: Options { seed: 0, eight_bit: false },
            batch: 8,
            threads: 2,
            control: &Control::default(),
            place: 0,
        };
        let go_on = ControlFlow::Continue(());
        let attacked = run(&job, &mut |_| go_on, &mut |_| go_on).unwrap();
        let even = attacked.samples.iter().filter(|&&sample| sample % 2 == 0).count();
        let overshoots: Vec<f64> = attacked.results.iter().map(|it| it.overshoot).filter(|&it| it > 0.0).collect();
        assert_eq!(overshoots.len(), even);
        assert!(overshoots.iter().any(|it| (0.46..=0.5).contains(it)), "{overshoots:?}");
        assert!(attacked.results.iter().all(|result| result.linf < 8.0 / 255.0 + 1e-6));
    }
}
