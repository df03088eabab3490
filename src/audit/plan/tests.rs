//! Plans: merging, defaults, sweeps, bad settings.

use super::super::attack::spec;
use super::*;

fn plan(text: &str) -> AuditPlan {
    toml::from_str(text).unwrap()
}

#[test]
fn flags_win_over_the_file_and_attacks_are_replaced() {
    let file = plan("seed = 5\n[data]\nfirst = 100\n[curve]\nk = 7\n[[attack]]\nname = \"pgd\"\nsteps = 3\n");
    let flags = plan("[data]\nsamples = 50\n[[attack]]\nname = \"fgsm\"\n");
    let job = flags.over(file).resolve().unwrap();
    assert_eq!((job.plan.seed, job.plan.k, job.selection), (5, 7, Selection::Sample { n: 50, seed: 5 }));
    assert_eq!(job.plan.attacks.iter().map(|attack| attack.label.as_str()).collect::<Vec<_>>(), ["fgsm"]);
}

#[test]
fn repeated_attacks_get_numbers() {
    let job = plan("[[attack]]\nname = \"pgd\"\n[[attack]]\nname = \"pgd\"\neps = \"2/255\"\n").resolve().unwrap();
    let labels: Vec<&str> = job.plan.attacks.iter().map(|attack| attack.label.as_str()).collect();
    assert_eq!(labels, ["pgd", "pgd-2"]);
    assert!(job.plan.command.contains("eps=2/255"), "{}", job.plan.command);
}

#[test]
fn stop_reaches_the_attacks_that_have_it_the_default_ones_too() {
    let job = plan("stop = \"first\"").resolve().unwrap();
    let stops: Vec<Option<&String>> = job.plan.attacks.iter().map(|attack| attack.own.get("stop")).collect();
    assert_eq!(stops, [None, Some(&"first".to_owned())]);
    let job = plan("stop = \"first\"\n[[attack]]\nname = \"pgd\"\nstop = \"never\"").resolve().unwrap();
    assert_eq!(job.plan.attacks[0].own["stop"], "never");
}

#[test]
fn the_command_is_read_back_as_the_same_plan() {
    let job = plan("eight_bit = true\n[[attack]]\nname = \"pgd\"\nsteps = 3\neps = \"2/255\"\n").resolve().unwrap();
    let spec = spec(&job.plan.attacks[..1]);
    let again =
        AuditPlan { attack: vec![AttackPlan::parse(&spec).unwrap()], ..AuditPlan::default() }.resolve().unwrap();
    assert_eq!(again.plan.attacks, job.plan.attacks);
}

#[test]
fn a_sweep_becomes_an_attack_per_size_and_one_flag_of_the_command() {
    for eps in ["\"8/255|2/255\"", "[\"8/255\", \"2/255\"]"] {
        let text = format!(
            "[[attack]]\nname = \"fgsm\"\n[[attack]]\nname = \"pgd\"\neps = {eps}\n[[attack]]\nname = \"pgd\"\n"
        );
        let job = plan(&text).resolve().unwrap();
        let attacks: Vec<(&str, String, Option<usize>)> =
            job.plan.attacks.iter().map(|it| (it.label.as_str(), it.summary(), it.sweep)).collect();
        let expected = [("fgsm", "8", None), ("pgd", "2", Some(1)), ("pgd-2", "8", Some(1)), ("pgd-3", "8", None)]
            .map(|(label, eps, sweep)| (label, format!("L∞ ε {eps}/255"), sweep));
        assert_eq!(attacks, expected);
        assert_eq!(job.plan.command.matches("--attack").count(), 3);
        assert!(job.plan.command.contains("--attack 'pgd:eps=2/255|8/255,goal="), "{}", job.plan.command);
        let again = AuditPlan {
            attack: vec![AttackPlan::parse(&spec(&job.plan.attacks[1..3])).unwrap()],
            ..AuditPlan::default()
        };
        let again = again.resolve().unwrap();
        assert_eq!(again.plan.attacks[1].params(), job.plan.attacks[2].params());
    }
}

#[test]
fn all_is_every_attack_of_the_catalog() {
    let names: Vec<String> = AttackPlan::named("all").into_iter().map(|attack| attack.name).collect();
    assert_eq!(names, ATTACKS.iter().map(|spec| spec.id).collect::<Vec<_>>());
    assert_eq!(AttackPlan::named("pgd").len(), 1);
}

#[test]
fn bad_settings_are_named() {
    for (text, expected) in [
        ("[curve]\nk = 0", "k = 0"),
        ("[data]\nfirst = 3", "too few for k = 3"),
        ("[data]\nsplit = \"dev\"", "split = dev"),
        ("device = \"tpu\"", "tpu"),
        ("preset = \"fast\"", "fast"),
        ("batch = 0", "batch = 0"),
        ("eight_bit = true\nstop = \"first\"", "stop=never"),
        ("eight_bit = true\n[[attack]]\nname = \"fgsm\"\neps = 0.003", "below 1/255"),
        ("[model]\nnormalize = \"x\"", "normalization `x`"),
        ("[[attack]]\nname = \"pdg\"", "pdg"),
        ("[[attack]]\nname = \"pgd\"\nstepz = 3", "stepz"),
        ("[[attack]]\nname = \"pgd\"\neps = -1", "eps = -1"),
        ("[[attack]]\nname = \"pgd\"\neps = [0.1, -1]", "eps = -1"),
        ("[[attack]]\nname = \"pgd\"\neps = \"0.1|1/10\"", "twice"),
    ] {
        let message = plan(text).resolve().unwrap_err().to_string();
        assert!(message.contains(expected) && message.lines().count() == 1, "{text}: {message}");
    }
}

#[test]
fn a_plan_file_with_an_unknown_key_is_an_error_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.toml");
    std::fs::write(&path, "seed = 1\nsede = 2\n").unwrap();
    let message = AuditPlan::read(&path).unwrap_err().to_string();
    assert!(message.contains("line 2") && message.contains("sede"), "{message}");
}
