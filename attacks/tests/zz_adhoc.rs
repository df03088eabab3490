mod common;
use advmod_attacks::testing::*;
use advmod_attacks::victim::Victim;
use tch::*;
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.split(' ').collect();
    (f[13].parse::<f64>().unwrap() + f[14].parse::<f64>().unwrap()) / 100.0
}
#[test]
fn adhoc() {
    let v = ConvVictim::seeded(1, 3, 10);
    let x = images(2, [104, 3, 32, 32]);
    let y = predictions(&v, &x).unwrap();
    let ours = |n: i32, extra: &str| {
        let t = cpu();
        common::attack_all(&v, &common::config(&format!("pgd:steps={n}{extra}")), &x, &y).unwrap();
        cpu() - t
    };
    for _ in 0..3 {
        println!("slope fwd nograd {}", {
            let t = cpu();
            for _ in 0..10 {
                tch::no_grad(|| v.logits(&x).unwrap());
            }
            (cpu() - t) / 10.0
        });
        println!("slope 1 step {}", ours(1, ",iterate=last,random_start=false"));
    }
}
