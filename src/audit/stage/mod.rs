//! The pieces of work that an audit is made of. Tensors live here and below; events carry plain data out.

pub(crate) mod attack;
pub(crate) mod attacked;
pub(crate) mod carry;
pub(crate) mod control;
pub mod curve;
pub(crate) mod growth;
pub(crate) mod rounded;

pub(super) fn panic_line(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.and_then(|text| text.lines().next()).unwrap_or("unknown panic").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_panic_are_read() {
        let caught = |panics: fn()| panic_line(std::panic::catch_unwind(panics).unwrap_err().as_ref());
        assert_eq!(caught(|| panic!("plain")), "plain");
        assert_eq!(caught(|| std::panic::panic_any(format!("first\n{}", 2))), "first");
        assert_eq!(caught(|| std::panic::panic_any(7)), "unknown panic");
    }
}
