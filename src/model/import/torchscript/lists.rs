//! Functions of lists, tuples and dictionaries. All that they look at is paid for.

use super::evaluator::{Evaluator, Result};
use super::value::{Number, Value};
use crate::model::program::Size;

impl<'a> Evaluator<'a> {
    /// The members of a list or tuple, which are paid for.
    pub(super) fn members(&mut self, value: &Value<'a>) -> Result<Option<Vec<Value<'a>>>> {
        self.charge(value.length())?;
        Ok(value.members())
    }

    pub(super) fn range(&mut self, bounds: &[Value<'a>]) -> Result<Value<'a>> {
        let (start, end, step) = self.bounds(bounds)?;
        let mut members = Vec::new();
        let mut at = start;
        while if step > 0 { at < end } else { at > end } {
            self.charge(1)?;
            self.check_length(members.len())?;
            members.push(Value::fixed(at));
            at = at.saturating_add(step);
        }
        Ok(Value::list(members))
    }

    fn bounds(&mut self, bounds: &[Value<'a>]) -> Result<(i64, i64, i64)> {
        let number = |value: &Value<'a>| match value.number() {
            Some(Number::Int(Size::Fixed(number))) => Some(number),
            _ => None,
        };
        let bounds: Option<Vec<i64>> = bounds.iter().take(4).map(number).collect();
        match bounds.as_deref() {
            Some([end]) => Ok((0, *end, 1)),
            Some([start, end]) => Ok((*start, *end, 1)),
            Some([start, end, step]) if *step != 0 => Ok((*start, *end, *step)),
            _ => Err(self.error("it counts by what is not a fixed number")),
        }
    }

    /// How many numbers a range has.
    pub(super) fn range_length(&mut self, bounds: &[Value<'a>]) -> Result<Value<'a>> {
        let (start, end, step) = self.bounds(bounds)?;
        let (start, end, step) = (i128::from(start), i128::from(end), i128::from(step));
        let distance = if step > 0 { end - start } else { start - end };
        let length = (distance.max(0) + step.abs() - 1) / step.abs();
        i64::try_from(length).map(Value::fixed).map_err(|_| self.error("it overflows"))
    }

    /// The number at a place of a range.
    pub(super) fn range_member(&mut self, args: &[Value<'a>]) -> Result<Value<'a>> {
        let (at, start, step) = self.bounds(args)?;
        let number = at.checked_mul(step).and_then(|offset| offset.checked_add(start));
        number.map(Value::fixed).ok_or_else(|| self.error("it overflows"))
    }

    /// The smallest or largest number of a list.
    pub(super) fn extreme(&mut self, name: &str, list: &Value<'a>) -> Result<Value<'a>> {
        let mut best: Option<Value<'a>> = None;
        for member in self.members(list)?.unwrap_or_default() {
            best = Some(match best {
                Some(best) => {
                    self.of_two(name, &best, &member, &[])?.ok_or_else(|| self.error("it compares no numbers"))?
                }
                None => member,
            });
        }
        best.ok_or_else(|| self.error("it looks for the largest of nothing"))
    }

    pub(super) fn sum(&mut self, list: &Value<'a>) -> Result<Value<'a>> {
        let mut total = Value::fixed(0);
        for member in self.members(list)?.unwrap_or_default() {
            let sum = self.of_two("add", &total, &member, &[])?;
            total = sum.ok_or_else(|| self.error(format!("it adds up {}", member.what())))?;
        }
        Ok(total)
    }

    /// `all`, or `any`.
    pub(super) fn all_or_any(&mut self, all: bool, list: &Value<'a>) -> Result<Value<'a>> {
        let mut found = all;
        for member in self.members(list)?.unwrap_or_default() {
            let flag = self.truth(&member)?;
            found = if all { found && flag } else { found || flag };
        }
        Ok(Value::Bool(found))
    }

    /// `list[start:end:step]`.
    pub(super) fn part(&mut self, list: &Value<'a>, bounds: &[Value<'a>]) -> Result<Value<'a>> {
        let members = self.members(list)?.unwrap_or_default();
        let length = members.len() as i64;
        let bound = |at: usize, default: i64| match bounds.get(at) {
            None | Some(Value::None) => Some(default),
            Some(value) => match value.number() {
                Some(Number::Int(Size::Fixed(number))) => Some(number),
                _ => None,
            },
        };
        let inside = |at: i64| if at < 0 { at.saturating_add(length).max(0) } else { at.min(length) };
        let (Some(start), Some(end), Some(step)) =
            (bound(0, 0), bound(1, length), bound(2, 1).filter(|step| *step > 0))
        else {
            return Err(self.error("it takes a part of a list by what is not a fixed number"));
        };
        let part = members.into_iter().take(inside(end) as usize).skip(inside(start) as usize).step_by(step as usize);
        Ok(match list {
            Value::Tuple(..) => Value::tuple(part.collect()),
            _ => Value::list(part.collect()),
        })
    }

    pub(super) fn set_member(&mut self, list: &Value<'a>, key: &Value<'a>, value: &Value<'a>) -> Result<Value<'a>> {
        let members = &self.changeable(list)?.members;
        let length = members.borrow().len() as i64;
        let at = match key.number() {
            Some(Number::Int(Size::Fixed(index))) if index < 0 => index.saturating_add(length),
            Some(Number::Int(Size::Fixed(index))) => index,
            _ => -1,
        };
        if !(0..length).contains(&at) {
            return Err(self.error("it sets a member that a list does not have"));
        }
        members.borrow_mut()[at as usize] = value.clone();
        Ok(Value::None)
    }

    /// `append`, or `extend`.
    pub(super) fn lengthen(&mut self, name: &str, list: &Value<'a>, by: &Value<'a>) -> Result<Value<'a>> {
        self.changeable(list)?;
        let new = if name == "append" { Some(vec![by.clone()]) } else { self.members(by)? };
        let new = new.ok_or_else(|| self.error(format!("it extends a list by {}", by.what())))?;
        let members = &self.changeable(list)?.members;
        self.check_length(members.borrow().len() + new.len())?;
        members.borrow_mut().extend(new);
        Ok(list.clone())
    }

    /// Whether a list has a member, or a dictionary a key.
    pub(super) fn contains(&mut self, whole: &Value<'a>, wanted: &Value<'a>) -> Result<bool> {
        let members = match whole {
            Value::Dict(entries) => {
                self.charge(entries.borrow().len())?;
                Some(entries.borrow().iter().map(|(key, _)| key.clone()).collect())
            }
            _ => self.members(whole)?,
        };
        let members = members.ok_or_else(|| self.error(format!("it looks into {}", whole.what())))?;
        if matches!(wanted, Value::DeviceKind) {
            return self.device_kind_among(&members);
        }
        for member in &members {
            if self.equal(member, wanted)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sums and multiples of lists. None for what is neither.
    pub(super) fn joined(&mut self, name: &str, first: &Value<'a>, second: &Value<'a>) -> Result<Option<Value<'a>>> {
        Ok(match (name, first, second) {
            ("add", Value::List(a), Value::List(b)) => {
                let total = a.members.borrow().len() + b.members.borrow().len();
                self.check_length(total)?;
                self.charge(total)?;
                let members = [&a.members.borrow()[..], &b.members.borrow()[..]].concat();
                Some(Value::list(members))
            }
            ("mul", Value::List(list), count) => {
                let Some(Number::Int(Size::Fixed(count))) = count.number() else { return Ok(None) };
                let total = list.members.borrow().len().saturating_mul(usize::try_from(count).unwrap_or(0));
                self.check_length(total)?;
                self.charge(total)?;
                let members = list.members.borrow().clone();
                Some(Value::list(members.iter().cycle().take(total).cloned().collect()))
            }
            _ => None,
        })
    }
}
