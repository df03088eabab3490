//! Reads Python pickles as data. Nothing in a pickle is ever executed.
//!
//! A pickle is a program for a stack machine that can call any Python function. Here calls are only written down: the reader of a format
//! interprets the few that its files need and knows by name. A global that is not on the caller's list is refused.
//!
//! Opcodes: the Python standard library's `pickletools`, protocols 0 to 5 without out-of-band buffers.

mod machine;

use std::ops::Range;

use machine::Machine;

/// A value's place in a [`Pickle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(u32);

impl Id {
    /// Its number among all values.
    pub(crate) fn place(self) -> usize {
        self.0 as usize
    }
}

/// One value. Containers hold the places of their members, so shared and huge structures cost nothing extra.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of up to 64 bits.
    Int(i64),
    /// A longer integer: its little-endian two's complement bytes in the input.
    BigInt(Range<usize>),
    Float(f64),
    Text(String),
    /// Bytes, and Python 2's strings: where they lie in the input.
    Bytes(Range<usize>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Set(Vec<Id>),
    /// A dictionary in order.
    Dict(Vec<(Id, Id)>),
    /// A function or class: module and name.
    Global(String, String),
    /// A call that would have been made, and what would have been done to its result.
    Call {
        callable: Id,
        arguments: Id,
        /// What would be set on the result.
        state: Option<Id>,
        /// What would be stored in the result by key.
        items: Vec<(Id, Id)>,
    },
    /// A reference that only the file's format can resolve.
    Persistent(Id),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PickleError {
    #[error("it ends in the middle (byte {0}); the file is truncated")]
    Truncated(usize),
    #[error(
        "it asks for `{module}.{name}` (byte {at}), which is not among the things that such a file needs; nothing was run"
    )]
    Refused { module: String, name: String, at: usize },
    #[error("{what} at byte {at}; the file is damaged or no pickle")]
    Malformed { what: &'static str, at: usize },
}

#[derive(Debug)]
pub(crate) struct Pickle<'a> {
    input: &'a [u8],
    nodes: Vec<Node>,
    root: Id,
    /// Bytes of the input that belong to it.
    pub consumed: usize,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle at the start of `input`. `allowed(module, name)` decides which globals may be named.
    pub(crate) fn read(input: &'a [u8], allowed: &dyn Fn(&str, &str) -> bool) -> Result<Self, PickleError> {
        let mut machine = Machine::new(input);
        let root = machine.run(allowed)?;
        Ok(Self { input, nodes: machine.nodes, root, consumed: machine.at })
    }

    pub(crate) fn root(&self) -> Id {
        self.root
    }

    /// The places of all values, in the order in which they were made.
    pub(crate) fn ids(&self) -> impl Iterator<Item = Id> + use<> {
        // As many as fit, see `push`.
        (0..self.nodes.len() as u32).map(Id)
    }

    pub(crate) fn node(&self, id: Id) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub(crate) fn int(&self, id: Id) -> Option<i64> {
        match self.node(id) {
            Node::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// Text, or Python 2's bytes where they are text.
    pub(crate) fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(text) => Some(text),
            Node::Bytes(range) => std::str::from_utf8(&self.input[range.clone()]).ok(),
            _ => None,
        }
    }

    /// Bytes. Python 3 writes those of protocol 2 as `_codecs.encode(text, "latin1")`.
    pub(crate) fn bytes(&self, id: Id) -> Option<std::borrow::Cow<'a, [u8]>> {
        match self.node(id) {
            Node::Bytes(range) => Some((&self.input[range.clone()]).into()),
            Node::Call { callable, arguments, .. } if self.global(*callable) == Some(("_codecs", "encode")) => {
                let text = self.text(*self.sequence(*arguments)?.first()?)?;
                text.chars().map(|letter| u8::try_from(letter).ok()).collect::<Option<Vec<u8>>>().map(Into::into)
            }
            _ => None,
        }
    }

    /// The members of a list or tuple.
    pub(crate) fn sequence(&self, id: Id) -> Option<&[Id]> {
        match self.node(id) {
            Node::List(members) | Node::Tuple(members) => Some(members),
            _ => None,
        }
    }

    /// The entries of a dictionary, or of an `OrderedDict` or `defaultdict`.
    pub(crate) fn entries(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.node(id) {
            Node::Dict(entries) => Some(entries),
            Node::Call { callable, items, .. }
                if matches!(self.global(*callable), Some(("collections", "OrderedDict" | "defaultdict"))) =>
            {
                Some(items)
            }
            _ => None,
        }
    }

    pub(crate) fn get(&self, id: Id, key: &str) -> Option<Id> {
        self.entries(id)?.iter().find(|(name, _)| self.text(*name) == Some(key)).map(|(_, value)| *value)
    }

    pub(crate) fn global(&self, id: Id) -> Option<(&str, &str)> {
        match self.node(id) {
            Node::Global(module, name) => Some((module, name)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8]) -> Result<Pickle<'_>, PickleError> {
        Pickle::read(input, &|module, _| module == "collections")
    }

    #[test]
    fn plain_values_are_read() {
        // pickle.dumps({"a": [1, -2, 2.5, None, True], "b": (300, 70000)}, protocol=2)
        let input = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x04\x00\x00\x00\x00\x00\x00N\x88eX\x01\x00\x00\x00bq\x03M,\x01Jp\x11\x01\x00\x86q\x04u.";
        let pickle = read(input).unwrap();
        let list = pickle.sequence(pickle.get(pickle.root(), "a").unwrap()).unwrap();
        let nodes: Vec<&Node> = list.iter().map(|&id| pickle.node(id)).collect();
        assert_eq!(nodes, [&Node::Int(1), &Node::Int(-2), &Node::Float(2.5), &Node::None, &Node::Bool(true)]);
        let pair = pickle.sequence(pickle.get(pickle.root(), "b").unwrap()).unwrap();
        assert_eq!((pickle.int(pair[0]), pickle.int(pair[1])), (Some(300), Some(70000)));
        assert_eq!(pickle.consumed, input.len());
    }

    #[test]
    fn a_global_off_the_list_is_refused_by_name_and_nothing_is_run() {
        let protocol_0 = b"cos\nsystem\n(S'true'\ntR.";
        let protocol_4 = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.";
        for input in [&protocol_0[..], &protocol_4[..]] {
            let message = read(input).unwrap_err().to_string();
            assert!(message.contains("os.system") && message.contains("nothing was run"), "{message}");
        }
    }

    #[test]
    fn an_ordered_dict_keeps_its_entries_and_its_state_apart() {
        // OrderedDict(a=1) with an attribute, as a state_dict has: c…R, SETITEM, then BUILD.
        let input = b"\x80\x02ccollections\nOrderedDict\n)R(X\x01\x00\x00\x00aK\x01u}X\x01\x00\x00\x00mK\x05sb.";
        let pickle = read(input).unwrap();
        assert_eq!(pickle.entries(pickle.root()).unwrap().len(), 1);
        assert_eq!(pickle.get(pickle.root(), "a").and_then(|id| pickle.int(id)), Some(1));
        assert!(matches!(pickle.node(pickle.root()), Node::Call { state: Some(_), .. }));
    }

    #[test]
    fn a_list_filled_after_it_was_memoised_is_filled_everywhere() {
        // x = [1]; (x, x)
        let input = b"\x80\x02]q\x00K\x01ah\x00\x86.";
        let pickle = read(input).unwrap();
        let pair = pickle.sequence(pickle.root()).unwrap();
        assert_eq!(pair[0], pair[1]);
        assert_eq!(pickle.sequence(pair[0]).unwrap().len(), 1);
    }

    #[test]
    fn long_integers_keep_their_sign_or_their_bytes() {
        for (bytes, expected) in
            [(&b"\x8a\x02\xff\x7f."[..], 32767), (&b"\x8a\x01\xff."[..], -1), (&b"\x8a\x00."[..], 0)]
        {
            let pickle = read(bytes).unwrap();
            assert_eq!(pickle.int(pickle.root()), Some(expected));
        }
        let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
        let pickle = read(magic).unwrap();
        assert!(matches!(pickle.node(pickle.root()), Node::BigInt(range) if range.len() == 10));
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let good = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x04\x00\x00\x00\x00\x00\x00N\x88eX\x01\x00\x00\x00bq\x03M,\x01Jp\x11\x01\x00\x86q\x04u.";
        for end in 0..good.len() {
            assert!(read(&good[..end]).is_err(), "cut at {end}");
        }
        for at in 0..good.len() {
            for value in 0..=255 {
                let mut bytes = good.to_vec();
                bytes[at] = value;
                let _ = read(&bytes);
            }
        }
        for input in [
            &b"."[..],
            b"(.",
            b"t.",
            b"h\x00.",
            b"r\xff\xff\xff\xff.",
            b"X\xff\xff\xff\xffa.",
            b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.",
        ] {
            assert!(read(input).is_err(), "{input:?}");
        }
    }

    #[test]
    fn sharing_does_not_multiply() {
        // Each level holds the one before twice: 2^60 leaves, were they copied.
        let mut input = b"\x80\x02]q\x00".to_vec();
        for _ in 0..60 {
            input.extend(b"h\x00h\x00\x86q\x00");
        }
        input.push(b'.');
        assert!(read(&input).is_ok());
    }
}
