//! RESP, the framing of the Redis protocol: arrays of bulk strings come in, values go out.
//!
//! Versions 2 and 3 as the Redis protocol specification defines them. [`decoder`] finds requests in
//! what was received, [`mod@write`] appends replies. What the words of a request mean is not told
//! here: that is [`redis`](crate::redis), or one of the native [`commands`](crate::command).

pub mod decoder;
pub mod write;

pub use decoder::{RespDecoder, RespFault, RespFramed};

/// Which version of the protocol a client speaks: it begins with 2, and HELLO chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RespVersion {
    /// Arrays, bulk strings, simple strings, integers, errors; nothing is a bulk string of length
    /// -1.
    #[default]
    V2,
    /// Also maps, sets, text for people, and a null of its own.
    V3,
}
