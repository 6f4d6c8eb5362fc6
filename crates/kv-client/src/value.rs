//! Values on their way in and out: bytes, text, numbers, or JSON of serde types.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// A value that was read: bytes, with readers for what they are meant to be. A clone is cheap.
///
/// ```
/// use kv_client::Value;
///
/// let value = Value::from("42");
/// assert_eq!(value, "42");
/// assert_eq!(value.to_str()?, "42");
/// assert_eq!(value.parse::<i64>()?, 42);
/// assert_eq!(value.json::<u8>()?, 42);
/// # Ok::<(), kv_client::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(Bytes);

/// A key that was read, for it may be any bytes, too.
pub type Key = Value;

impl Value {
    /// The bytes, without a copy.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The value as text.
    ///
    /// # Errors
    ///
    /// [`Error::Value`] if it is not UTF-8.
    pub fn to_str(&self) -> Result<&str> {
        std::str::from_utf8(&self.0)
            .map_err(|error| Error::Value(format!("the value is not UTF-8: {error}")))
    }

    /// The value as text, whatever it is: what is not UTF-8 is replaced.
    pub fn to_str_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// What the text of the value says, for example a number.
    ///
    /// # Errors
    ///
    /// [`Error::Value`] if it says something else.
    pub fn parse<T: FromStr<Err: fmt::Display>>(&self) -> Result<T> {
        let text = self.to_str()?;
        text.parse().map_err(|error| {
            Error::Value(format!("{:?} is no {}: {error}", text, std::any::type_name::<T>()))
        })
    }

    /// What the value is as JSON.
    ///
    /// # Errors
    ///
    /// [`Error::Value`] if it is not JSON, or not of such a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.0).map_err(|error| {
            Error::Value(format!("the value is no {}: {error}", std::any::type_name::<T>()))
        })
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Value(bytes.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Value(Bytes::copy_from_slice(bytes))
    }
}

impl From<Value> for Vec<u8> {
    fn from(value: Value) -> Self {
        value.0.into()
    }
}

impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl PartialEq<[u8]> for Value {
    fn eq(&self, other: &[u8]) -> bool {
        *self.0 == *other
    }
}

/// A serde type as JSON: the store knows that it is JSON and shows it as that.
///
/// ```
/// use kv_client::{IntoValue, Json};
///
/// let encoded = Json(&["red", "blue"]).into_value()?;
/// assert_eq!(*encoded.bytes, *br#"["red","blue"]"#);
/// assert!(encoded.json);
/// # Ok::<(), kv_client::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// A value as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedValue<'a> {
    /// What it consists of.
    pub bytes: Cow<'a, [u8]>,
    /// Whether that is JSON.
    pub json: bool,
}

/// What can be written as a value: bytes, text, whole numbers, and [`Json`].
pub trait IntoValue {
    /// The value as it is sent.
    ///
    /// # Errors
    ///
    /// [`Error::Value`] if it cannot be written as JSON, for example a map with keys that are not
    /// text.
    fn into_value<'a>(self) -> Result<EncodedValue<'a>>
    where
        Self: 'a;
}

/// Borrowed bytes of whatever dereferences to them.
macro_rules! borrowed {
    ($($type:ty),+) => {$(
        impl IntoValue for $type {
            fn into_value<'a>(self) -> Result<EncodedValue<'a>>
            where
                Self: 'a,
            {
                let bytes: &[u8] = self.as_ref();
                Ok(EncodedValue { bytes: Cow::Borrowed(bytes), json: false })
            }
        }
    )+};
}

borrowed!(&str, &String, &[u8], &Vec<u8>, &Bytes, &Value);

impl<const N: usize> IntoValue for &[u8; N] {
    fn into_value<'a>(self) -> Result<EncodedValue<'a>>
    where
        Self: 'a,
    {
        self[..].into_value()
    }
}

/// Owned bytes.
macro_rules! owned {
    ($($type:ty),+) => {$(
        impl IntoValue for $type {
            fn into_value<'a>(self) -> Result<EncodedValue<'a>> {
                Ok(EncodedValue { bytes: Cow::Owned(self.into()), json: false })
            }
        }
    )+};
}

owned!(String, Vec<u8>, Bytes, Value);

/// Whole numbers, as INCR reads them.
macro_rules! numbers {
    ($($type:ty),+) => {$(
        impl IntoValue for $type {
            fn into_value<'a>(self) -> Result<EncodedValue<'a>> {
                self.to_string().into_value()
            }
        }
    )+};
}

numbers!(i32, i64, u32, u64, usize);

impl IntoValue for EncodedValue<'_> {
    fn into_value<'a>(self) -> Result<EncodedValue<'a>>
    where
        Self: 'a,
    {
        Ok(self)
    }
}

impl<T: Serialize> IntoValue for Json<T> {
    fn into_value<'a>(self) -> Result<EncodedValue<'a>>
    where
        Self: 'a,
    {
        let bytes = serde_json::to_vec(&self.0)
            .map_err(|error| Error::Value(format!("it cannot be written as JSON: {error}")))?;
        Ok(EncodedValue { bytes: Cow::Owned(bytes), json: true })
    }
}
