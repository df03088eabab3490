//! The pickle opcodes.

use std::ops::Range;

use super::{Id, Node, PickleError};

/// A stack machine that builds values instead of running anything.
pub(super) struct Machine<'a> {
    input: &'a [u8],
    /// Bytes read so far.
    pub(super) at: usize,
    pub(super) nodes: Vec<Node>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: Vec<Option<Id>>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: Vec::new() }
    }

    pub(super) fn run(&mut self, allowed: &dyn Fn(&str, &str) -> bool) -> Result<Id, PickleError> {
        loop {
            let opcode = self.byte()?;
            match opcode {
                b'.' => return self.pop(),
                // PROTO and FRAME only announce.
                0x80 => _ = self.byte()?,
                0x95 => _ = self.bytes(8)?,
                b'(' => self.marks.push(self.stack.len()),
                b'0' => _ = self.pop()?,
                b'1' => _ = self.pop_mark()?,
                b'2' => self.stack.push(*self.stack.last().ok_or_else(|| self.malformed("nothing to duplicate"))?),
                b'N' => self.push(Node::None)?,
                0x88 => self.push(Node::Bool(true))?,
                0x89 => self.push(Node::Bool(false))?,
                b'K' | b'M' | b'J' | b'I' | b'L' | 0x8a | 0x8b => self.integer(opcode)?,
                b'G' => {
                    let bits = u64::from_be_bytes(self.array()?);
                    self.push(Node::Float(f64::from_bits(bits)))?;
                }
                b'F' => {
                    let value = self.line()?.parse().map_err(|_| self.malformed("a float that is none"))?;
                    self.push(Node::Float(value))?;
                }
                b'X' | 0x8c | 0x8d | b'V' => {
                    let text = self.unicode(opcode)?;
                    self.push(Node::Text(text))?;
                }
                b'U' | b'T' | b'B' | b'C' | 0x8e | 0x96 => {
                    let length = self.length(opcode)?;
                    let range = self.range(length)?;
                    self.push(Node::Bytes(range))?;
                }
                b']' => self.push(Node::List(Vec::new()))?,
                b')' => self.push(Node::Tuple(Vec::new()))?,
                b'}' => self.push(Node::Dict(Vec::new()))?,
                0x8f => self.push(Node::Set(Vec::new()))?,
                b'l' | b't' | 0x91 | 0x90 | b'd' | b'e' | b'u' | b'a' | b's' | 0x85..=0x87 => self.container(opcode)?,
                b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' => self.memo(opcode)?,
                b'c' | 0x93 => {
                    let at = self.at - 1;
                    let (module, name) = if opcode == b'c' {
                        (self.line()?.to_owned(), self.line()?.to_owned())
                    } else {
                        let name = self.pop_text()?;
                        (self.pop_text()?, name)
                    };
                    if !allowed(&module, &name) {
                        return Err(PickleError::Refused { module, name, at });
                    }
                    self.push(Node::Global(module, name))?;
                }
                // REDUCE, NEWOBJ
                b'R' | 0x81 => {
                    let (arguments, callable) = (self.pop()?, self.pop()?);
                    self.push(Node::Call { callable, arguments, state: None, items: Vec::new() })?;
                }
                // BUILD
                b'b' => {
                    let (new, target) = (self.pop()?, self.top()?);
                    match &mut self.nodes[target.0 as usize] {
                        Node::Call { state, .. } => *state = Some(new),
                        _ => return Err(self.malformed("a state for a plain value")),
                    }
                }
                // BINPERSID, PERSID
                b'Q' => {
                    let id = self.pop()?;
                    self.push(Node::Persistent(id))?;
                }
                _ => return Err(PickleError::Malformed { what: "an unknown opcode", at: self.at - 1 }),
            }
        }
    }

    fn integer(&mut self, opcode: u8) -> Result<(), PickleError> {
        let node = match opcode {
            b'K' => Node::Int(self.byte()?.into()),
            b'M' => Node::Int(u16::from_le_bytes(self.array()?).into()),
            b'J' => Node::Int(i32::from_le_bytes(self.array()?).into()),
            b'I' | b'L' => match self.line()?.trim_end_matches('L') {
                // How protocols before 2 write booleans.
                "00" => Node::Bool(false),
                "01" => Node::Bool(true),
                digits => Node::Int(digits.parse().map_err(|_| self.malformed("an integer that is none"))?),
            },
            _ => {
                let length =
                    if opcode == 0x8a { self.byte()?.into() } else { u32::from_le_bytes(self.array()?) as usize };
                let range = self.range(length)?;
                let bytes = &self.input[range.clone()];
                if length > 8 {
                    Node::BigInt(range)
                } else {
                    // Sign-extend the little-endian bytes.
                    let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
                    let mut all = [fill; 8];
                    all[..length].copy_from_slice(bytes);
                    Node::Int(i64::from_le_bytes(all))
                }
            }
        };
        self.push(node)
    }

    fn unicode(&mut self, opcode: u8) -> Result<String, PickleError> {
        if opcode == b'V' {
            return Ok(self.line()?.to_owned());
        }
        let length = self.length(opcode)?;
        let range = self.range(length)?;
        let text = std::str::from_utf8(&self.input[range]).map_err(|_| self.malformed("text that is not UTF-8"))?;
        Ok(text.to_owned())
    }

    /// The length in front of text or bytes.
    fn length(&mut self, opcode: u8) -> Result<usize, PickleError> {
        match opcode {
            b'U' | b'C' | 0x8c => Ok(self.byte()?.into()),
            b'T' | b'B' | b'X' => Ok(u32::from_le_bytes(self.array()?) as usize),
            _ => usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| self.malformed("an absurd length")),
        }
    }

    fn container(&mut self, opcode: u8) -> Result<(), PickleError> {
        let members = match opcode {
            b'a' => vec![self.pop()?],
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                vec![key, value]
            }
            0x85..=0x87 => {
                let n = usize::from(opcode - 0x84);
                let from = self.stack.len().checked_sub(n).ok_or_else(|| self.malformed("a tuple of nothing"))?;
                self.stack.split_off(from)
            }
            _ => self.pop_mark()?,
        };
        match opcode {
            b'l' => self.push(Node::List(members)),
            b't' | 0x85..=0x87 => self.push(Node::Tuple(members)),
            0x91 => self.push(Node::Set(members)),
            b'd' => self.push(Node::Dict(self.pairs(&members)?)),
            b'a' | b'e' | 0x90 => self.extend(&members),
            _ => self.store(&self.pairs(&members)?),
        }
    }

    fn extend(&mut self, members: &[Id]) -> Result<(), PickleError> {
        let target = self.top()?;
        match &mut self.nodes[target.0 as usize] {
            Node::List(list) | Node::Set(list) => list.extend_from_slice(members),
            // A subclass of list: its members do not matter to any format here.
            Node::Call { .. } => (),
            _ => return Err(self.malformed("members for what is no list")),
        }
        Ok(())
    }

    fn store(&mut self, entries: &[(Id, Id)]) -> Result<(), PickleError> {
        let target = self.top()?;
        match &mut self.nodes[target.0 as usize] {
            Node::Dict(items) | Node::Call { items, .. } => items.extend_from_slice(entries),
            _ => return Err(self.malformed("entries for what is no dictionary")),
        }
        Ok(())
    }

    fn memo(&mut self, opcode: u8) -> Result<(), PickleError> {
        let index = match opcode {
            0x94 => self.memo.len(),
            b'q' | b'h' => self.byte()?.into(),
            b'r' | b'j' => u32::from_le_bytes(self.array()?) as usize,
            _ => self.line()?.parse().map_err(|_| self.malformed("a memo number that is none"))?,
        };
        if matches!(opcode, b'g' | b'h' | b'j') {
            let found = self.memo.get(index).copied().flatten();
            self.stack.push(found.ok_or_else(|| self.malformed("an empty memo place"))?);
            return Ok(());
        }
        // Honest pickles number their memo in sequence; a place beyond the input's length can only be an attack on memory.
        if index > self.input.len() {
            return Err(self.malformed("an absurd memo number"));
        }
        if self.memo.len() <= index {
            self.memo.resize(index + 1, None);
        }
        self.memo[index] = Some(self.top()?);
        Ok(())
    }

    fn pairs(&self, members: &[Id]) -> Result<Vec<(Id, Id)>, PickleError> {
        let pairs = members.chunks_exact(2);
        if !pairs.remainder().is_empty() {
            return Err(self.malformed("a key without a value"));
        }
        Ok(pairs.map(|pair| (pair[0], pair[1])).collect())
    }

    fn push(&mut self, node: Node) -> Result<(), PickleError> {
        let id = u32::try_from(self.nodes.len()).map_err(|_| self.malformed("too many values"))?;
        self.nodes.push(node);
        self.stack.push(Id(id));
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, PickleError> {
        // What lies under a mark belongs to somebody else.
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.malformed("an empty stack"));
        }
        self.stack.pop().ok_or_else(|| self.malformed("an empty stack"))
    }

    fn top(&self) -> Result<Id, PickleError> {
        self.stack.last().copied().ok_or_else(|| self.malformed("an empty stack"))
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, PickleError> {
        let height = self.marks.pop().filter(|&height| height <= self.stack.len());
        height.map(|height| self.stack.split_off(height)).ok_or_else(|| self.malformed("a missing mark"))
    }

    fn pop_text(&mut self) -> Result<String, PickleError> {
        let id = self.pop()?;
        match &self.nodes[id.0 as usize] {
            Node::Text(text) => Ok(text.clone()),
            _ => Err(self.malformed("a global without a name")),
        }
    }

    fn byte(&mut self) -> Result<u8, PickleError> {
        Ok(self.bytes(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], PickleError> {
        let range = self.range(length)?;
        Ok(&self.input[range])
    }

    fn range(&mut self, length: usize) -> Result<Range<usize>, PickleError> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.input.len());
        let end = end.ok_or(PickleError::Truncated(self.input.len()))?;
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    fn line(&mut self) -> Result<&'a str, PickleError> {
        let rest = &self.input[self.at..];
        let length = rest.iter().position(|&byte| byte == b'\n').ok_or(PickleError::Truncated(self.input.len()))?;
        self.at += length + 1;
        std::str::from_utf8(&rest[..length]).map_err(|_| self.malformed("a line that is not text"))
    }

    fn malformed(&self, what: &'static str) -> PickleError {
        PickleError::Malformed { what, at: self.at.saturating_sub(1) }
    }
}
