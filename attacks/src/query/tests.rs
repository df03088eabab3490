//! Tests of the query.

use super::*;
use crate::loss::{cross_entropy, margin};
use crate::testing::{ConvVictim, images, predictions};
use crate::threat::Goal;

const IDS: [u32; 3] = [4, 9, 2];

fn with_query<T>(access: Access, test: impl FnOnce(&mut Query<'_>, &Tensor, &Tensor) -> T) -> T {
    let victim = ConvVictim::seeded(1, 3, 5);
    let pixels = images(2, [3, 3, 5, 6]);
    let labels = predictions(&victim, &pixels).unwrap();
    let mut go_on = |_| ControlFlow::Continue(());
    test(&mut Query::new(&victim, (access, 1), "test", 7, &IDS, &mut go_on), &pixels, &labels)
}

#[test]
fn several_losses_of_one_forward_have_the_gradients_of_separate_ones() {
    with_query(Access::Gradients, |query, pixels, labels| {
        let ce = |logits: &Tensor| cross_entropy(logits, labels, Goal::Untargeted);
        let gap = |logits: &Tensor| margin(logits, labels, Goal::Untargeted);
        let (logits, together) = query.values_and_grads(&IDS, pixels, &[&ce, &gap]).unwrap();
        assert_eq!((query.meters[0].forwards, query.meters[0].backwards), (1, 2));
        for (loss, (value, gradient)) in [&ce as &dyn Fn(&Tensor) -> Tensor, &gap].into_iter().zip(together) {
            let alone = query.value_and_grad(&IDS, pixels, loss).unwrap();
            assert!(!pixels.requires_grad() && !alone.logits.requires_grad());
            assert_eq!((&alone.logits, &alone.loss, &alone.gradient), (&logits, &value, &gradient));
        }
    });
}

#[test]
fn noise_belongs_to_the_sample_not_to_its_place() {
    with_query(Access::Logits, |query, pixels, _| {
        let first = query.uniform_like(&IDS, pixels, 0.25);
        query.begin_restart(0);
        let [last, middle] = [2, 1].map(|k| query.uniform_like(&IDS[k..=k], &pixels.narrow(0, 0, 1), 0.25));
        assert_eq!((first.narrow(0, 2, 1), first.narrow(0, 1, 1)), (last, middle));
        query.begin_restart(1);
        assert_ne!(query.uniform_like(&IDS, pixels, 0.25), first);
    });
}

#[test]
fn an_attack_gets_no_more_than_it_declared_and_names_its_rows() {
    with_query(Access::Logits, |query, pixels, _| {
        assert!(query.value_and_grad(&IDS, pixels, &|logits| logits.select(1, 0)).is_err());
        assert!(query.logits(&[1, 2, 3], pixels).is_err(), "sample 1 is not in the batch");
        assert!(query.logits(&IDS[..2], pixels).is_err(), "two names for three rows");
        assert!(query.logits(&[9, 9, 9], pixels).is_ok(), "candidates of one sample");
        assert_eq!(query.meters[1].forwards, 3);
    });
}
