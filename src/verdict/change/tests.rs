//! What has changed, on the recorded run and on altered ones.

use super::*;
use crate::verdict::Report;
use crate::verdict::testing::recorded;

fn change(report: &Report, baseline: &Baseline, metric: &str) -> Change {
    changes(&report.facts(), baseline).changes.into_iter().find(|it| it.metric.to_string() == metric).unwrap()
}

fn worse(report: &Report, baseline: &Baseline, metric: &str) -> Result<Measured, Missing> {
    let metric = Metric::parse(metric).unwrap();
    let now = read(&report.facts(), &metric).remove(0);
    regression(&report.facts(), Some(baseline), &metric, &now).found.map(|found| found.measured)
}

#[test]
fn a_report_has_not_changed_since_itself() {
    let report = recorded();
    let changes = changes(&report.facts(), &baseline(&report.facts(), "report.json"));
    assert!(changes.same_samples && changes.changes.len() == 16);
    assert!(changes.changes.iter().all(|it| it.state == ChangeState::Same), "{changes:?}");
}

#[test]
fn what_became_worse_or_better_is_told_from_chance() {
    let before = recorded();
    let earlier = baseline(&before.facts(), "report.json");
    let mut now = recorded();
    // Of 39 attacked images FGSM broke 29: now all but two, then one more, then three only.
    let set = |now: &mut Report, broken: &dyn Fn(usize) -> bool| {
        let samples = &mut now.attacks[0].samples;
        for (at, sample) in samples.iter_mut().enumerate() {
            sample.success = broken(at);
        }
    };
    set(&mut now, &|at| at > 1);
    assert_eq!(change(&now, &earlier, "asr.fgsm").state, ChangeState::Regressed);
    assert_eq!(change(&now, &earlier, "accuracy.fgsm").state, ChangeState::Regressed);
    let found = worse(&now, &earlier, "asr.fgsm").unwrap();
    assert!(found.low > 0.0 && (found.value - 8.0 / 39.0).abs() < 1e-12, "{found:?}");
    // An accuracy that fell is worse by what it fell.
    let found = worse(&now, &earlier, "accuracy.fgsm").unwrap();
    assert!((found.value - 8.0 / 40.0).abs() < 1e-12, "{found:?}");
    let first_whole = before.attacks[0].samples.iter().position(|it| !it.success).unwrap();
    let broken_before: Vec<bool> = before.attacks[0].samples.iter().map(|it| it.success).collect();
    set(&mut now, &|at| broken_before[at] || at == first_whole);
    assert_eq!(change(&now, &earlier, "asr.fgsm").state, ChangeState::Unclear);
    set(&mut now, &|at| at < 3);
    assert_eq!(change(&now, &earlier, "asr.fgsm").state, ChangeState::Improved);
    assert!(worse(&now, &earlier, "asr.fgsm").unwrap().high < 0.0);
}

#[test]
fn classes_are_compared_with_themselves() {
    let earlier = baseline(&recorded().facts(), "report.json");
    let mut now = recorded();
    let label = now.data.labels[now.attacks[0].samples[0].sample];
    now.attacks[0].samples.iter_mut().for_each(|it| it.success = true);
    let all = worse(&now, &earlier, "asr.fgsm").unwrap().value;
    let of_class = worse(&now, &earlier, &format!("asr.fgsm.class.{label}")).unwrap().value;
    let own = |it: &&crate::audit::event::SampleResult| now.data.labels[it.sample] == label;
    let before = recorded();
    let (n, spared) = (
        before.attacks[0].samples.iter().filter(own).count(),
        before.attacks[0].samples.iter().filter(own).filter(|it| !it.success).count(),
    );
    assert!((of_class - spared as f64 / n as f64).abs() < 1e-12 && (of_class - all).abs() > 1e-3, "{of_class} {all}");
}

#[test]
fn a_model_that_loses_images_is_not_called_better() {
    let before = recorded();
    let earlier = baseline(&before.facts(), "report.json");
    // Every second image that was attacked is misclassified now, and of the others FGSM breaks fewer.
    let mut now = recorded();
    let lost: Vec<usize> = now.attacks[0].samples.iter().map(|it| it.sample).step_by(2).collect();
    for &sample in &lost {
        now.clean.predictions.as_mut().unwrap()[sample] = (now.data.labels[sample] + 1) % 10;
    }
    for attack in &mut now.attacks {
        attack.samples.retain(|it| !lost.contains(&it.sample));
        attack.samples.iter_mut().for_each(|it| (it.success, it.prediction) = (false, before.data.labels[it.sample]));
    }
    let found = |metric: &str| change(&now, &earlier, metric);
    let (clean, asr) = (found("accuracy.clean"), found("asr.fgsm"));
    assert_eq!((clean.state, clean.images), (ChangeState::Regressed, Some(40)));
    // 19 images remain to FGSM: none is broken, so more of all images withstand it than before, and that is said.
    assert_eq!(
        (found("accuracy.fgsm").state, asr.state, asr.images),
        (ChangeState::Improved, ChangeState::Improved, Some(19))
    );
    // Of curves of other images nothing is said.
    let peak = found("peak_q.fgsm");
    assert!(peak.state == ChangeState::Incomparable && peak.why.unwrap().contains("39 images, is of 19"));
    // Where the images that withstand are those that did, the lower rate is no merit.
    let held: Vec<usize> = before.attacks[0].samples.iter().filter(|it| !it.success).map(|it| it.sample).collect();
    let mut now = recorded();
    for (sample, prediction) in
        now.clean.predictions.iter_mut().flatten().enumerate().filter(|(at, _)| !held.contains(at))
    {
        *prediction = (before.data.labels[sample] + 1) % 10;
    }
    now.attacks.iter_mut().for_each(|attack| attack.samples.retain(|it| held.contains(&it.sample)));
    let asr = change(&now, &earlier, "asr.fgsm");
    assert!(
        asr.state == ChangeState::Incomparable && asr.why.unwrap().contains("accuracy fell"),
        "{:?}",
        asr.difference
    );
    assert!(
        matches!(worse(&now, &earlier, "asr.fgsm"), Err(Missing::NotMeasurable(why)) if why.contains("accuracy fell"))
    );
    assert!(worse(&now, &earlier, "accuracy.clean").unwrap().low > 0.5);
    let changes = changes(&now.facts(), &earlier);
    assert!(changes.changes.iter().all(|it| it.state != ChangeState::Improved), "{changes:?}");
    let headline: Vec<String> = changes.headline().iter().map(|change| change.metric.to_string()).collect();
    assert_eq!(headline, ["accuracy.clean", "accuracy.linf:8/255"]);
}

#[test]
fn other_samples_are_no_pairs_and_other_settings_not_comparable() {
    let before = recorded();
    let mut earlier = baseline(&before.facts(), "report.json");
    earlier.data_sha256 = "other".to_owned();
    earlier.digests.iter_mut().for_each(|it| it.push('0'));
    let found = changes(&before.facts(), &earlier);
    let of = |name: &str| found.changes.iter().find(|it| it.metric.to_string() == name).unwrap();
    let (accuracy, asr) = (of("accuracy.fgsm"), of("asr.fgsm"));
    assert!(!found.same_samples && accuracy.state == ChangeState::Unclear && accuracy.difference.unwrap().high > 0.1);
    assert!(asr.state == ChangeState::Incomparable && asr.why.as_ref().unwrap().contains("no image"), "{asr:?}");
    let mut now = recorded();
    now.attacks[0].attack.epsilon = "4/255".parse().ok();
    let asr = change(&now, &earlier, "asr.fgsm");
    assert_eq!((asr.state, asr.why.as_deref()), (ChangeState::Incomparable, Some("eps was 8/255, is 4/255")));
    assert!(matches!(worse(&now, &earlier, "asr.fgsm"), Err(Missing::NotMeasurable(why)) if why.contains("eps")));
    now.plan.k = 5;
    assert_eq!(change(&now, &earlier, "peak_q.clean").state, ChangeState::Incomparable);
    now.attacks.remove(0);
    let found = changes(&now.facts(), &earlier);
    let state = |name: &str| found.changes.iter().find(|it| it.metric.to_string() == name).unwrap().state;
    assert_eq!(state("asr.fgsm"), ChangeState::Gone);
    // Under another label it is still the same attack, until its parameters differ too.
    let mut found = recorded();
    found.attacks[0].attack.label = "fgsm-2".to_owned();
    let same = baseline(&before.facts(), "report.json");
    assert_eq!(change(&found, &same, "asr.fgsm-2").state, ChangeState::Same);
    now.attacks[0].attack.label = "cw".to_owned();
    now.attacks[0].attack.own.insert("steps".to_owned(), "99".to_owned());
    assert_eq!(change(&now, &earlier, "asr.cw").state, ChangeState::New);
    assert!(
        matches!(worse(&now, &earlier, "asr.cw"), Err(Missing::NotMeasurable(why)) if why.contains("does not have"))
    );
}

#[test]
fn samples_are_paired_by_what_is_in_them() {
    let mut before = recorded();
    let n = before.data.labels.len();
    before.data.digests = (0..n).map(|at| format!("{at:016x}")).collect();
    // The same images from another file, and in the other order.
    let mut now = before.clone();
    now.data.sha256 = "other".to_owned();
    now.data.digests.reverse();
    now.data.labels.reverse();
    now.clean.predictions.as_mut().unwrap().reverse();
    for attack in &mut now.attacks {
        attack.samples.iter_mut().for_each(|it| it.sample = n - 1 - it.sample);
        attack.samples.reverse();
    }
    let found = changes(&now.facts(), &baseline(&before.facts(), "before"));
    assert!(found.same_samples);
    let rates = found.changes.iter().filter(|it| it.metric.quantity.is_rate());
    assert!(rates.clone().count() > 4 && rates.clone().all(|it| it.state == ChangeState::Same), "{found:?}");
    // Another image, or another label, and they are not the same any more, though the file is called the same.
    let mut other = before.clone();
    other.data.digests[3] = "f".to_owned();
    assert!(!changes(&other.facts(), &baseline(&before.facts(), "before")).same_samples);
    other.data.digests = before.data.digests.clone();
    other.data.labels[3] += 1;
    assert!(!changes(&other.facts(), &baseline(&before.facts(), "before")).same_samples);
}

#[test]
fn curves_of_the_same_images_are_compared_as_pairs() {
    let mut before = recorded();
    let halves = |apart: f64| -> Vec<f64> {
        (0..64).map(|at| 0.1 * f64::from(at % 3 - 1) + if at % 2 == 0 { apart } else { -apart }).collect()
    };
    before.clean.curves.as_mut().unwrap().peak_halves = halves(0.0);
    let earlier = baseline(&before.facts(), "before");
    let mut now = before.clone();
    now.clean.peak.as_mut().unwrap().q -= 0.05;
    now.clean.curves.as_mut().unwrap().peak_halves = halves(0.01);
    let found = change(&now, &earlier, "peak_q.clean");
    let by = found.difference.unwrap();
    assert!((by.value + 0.05).abs() < 1e-12 && (by.high - by.value - 0.01 * 1.997_729_654).abs() < 1e-6, "{by:?}");
    assert_eq!((found.state, found.images), (ChangeState::Regressed, Some(40)));
    // Without what the two have in common their errors add up.
    now.clean.curves.as_mut().unwrap().peak_halves = Vec::new();
    let alone = change(&now, &earlier, "peak_q.clean").difference.unwrap();
    assert!(alone.high - alone.low > 2.0 * (by.high - by.low), "{alone:?}");
}
