//! A search for an expression that can be left between any two bytes and gone on with later.
//!
//! At each byte it knows all the states that the expression can be in, and the byte leads from
//! there to those after it. Mostly this is slower than what `regex` does, but never than that at
//! its slowest, and what it takes is counted: in looks at states.

use regex_automata::nfa::thompson::{NFA, State};
use regex_automata::util::primitives::StateID;

/// A search under way, in a text that stays the same.
#[derive(Debug)]
pub(in crate::matching) struct Search {
    /// The bytes that have been read.
    at: usize,
    /// What the expression can be in after them.
    current: States,
    /// What it can be in after one more; empty between two bytes.
    next: States,
}

#[derive(Debug)]
struct States {
    ids: Vec<StateID>,
    is_in: Box<[bool]>,
    has_match: bool,
    /// Yet to be added.
    ahead: Vec<StateID>,
}

impl Search {
    pub(super) fn new(nfa: &NFA, text: &[u8]) -> Search {
        let mut current = States::new(nfa);
        current.add(nfa, text, 0, nfa.start_unanchored());
        Search { at: 0, current, next: States::new(nfa) }
    }

    /// Goes on until it is known whether the expression is found, or no looks are left.
    pub(super) fn run(&mut self, nfa: &NFA, text: &[u8], looks_left: &mut usize) -> Option<bool> {
        while *looks_left > 0 {
            if self.current.has_match || self.current.ids.is_empty() || self.at == text.len() {
                return Some(self.current.has_match);
            }
            let byte = text[self.at];
            self.at += 1;
            for id in &self.current.ids {
                if let Some(after) = after(nfa.state(*id), byte) {
                    self.next.add(nfa, text, self.at, after);
                }
            }
            let looks = self.current.ids.len() + self.next.ids.len();
            *looks_left = looks_left.saturating_sub(looks);
            std::mem::swap(&mut self.current, &mut self.next);
            self.next.clear();
        }
        None
    }
}

/// Where a byte leads from a state.
fn after(state: &State, byte: u8) -> Option<StateID> {
    match state {
        State::ByteRange { trans } => trans.matches_byte(byte).then_some(trans.next),
        State::Sparse(transitions) => transitions.matches_byte(byte),
        State::Dense(transitions) => transitions.matches_byte(byte),
        _ => None,
    }
}

impl States {
    fn new(nfa: &NFA) -> States {
        let is_in = vec![false; nfa.states().len()].into();
        States { ids: Vec::new(), is_in, has_match: false, ahead: Vec::new() }
    }

    /// Adds a state and all that it leads to without a byte.
    fn add(&mut self, nfa: &NFA, text: &[u8], at: usize, id: StateID) {
        self.ahead.push(id);
        while let Some(id) = self.ahead.pop() {
            if std::mem::replace(&mut self.is_in[id], true) {
                continue;
            }
            self.ids.push(id);
            match nfa.state(id) {
                State::Match { .. } => self.has_match = true,
                State::Look { look, next } => {
                    if nfa.look_matcher().matches(*look, text, at) {
                        self.ahead.push(*next);
                    }
                }
                State::Union { alternates } => self.ahead.extend_from_slice(alternates),
                State::BinaryUnion { alt1, alt2 } => self.ahead.extend([*alt1, *alt2]),
                State::Capture { next, .. } => self.ahead.push(*next),
                State::ByteRange { .. } | State::Sparse(_) | State::Dense(_) | State::Fail => {}
            }
        }
    }

    fn clear(&mut self) {
        self.ids.drain(..).for_each(|id| self.is_in[id] = false);
        self.has_match = false;
    }
}
