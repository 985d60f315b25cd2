//! MessagePack: requests are read from a slice, replies are written to a buffer. The extension types are those of
//! docs/protocol.md.
use chrono::{DateTime, Utc};
use rmp::Marker;
use rmp::decode::{self, RmpRead, ValueReadError};
use rmp::encode;
use stoolap::core::value::parse_vector_str;
use stoolap::{DataType, Row, Value};

use crate::errors::Failure;

/// MessagePack's own timestamp type.
const TIMESTAMP: i8 = -1;
/// Nanoseconds since 1970 in UTC, a big-endian i64.
const NANOSECONDS: i8 = 1;
/// A JSON text.
const JSON: i8 = 2;
/// Little-endian 32-bit floats.
const VECTOR: i8 = 3;
/// A JSON text of an array, for a column of JSON or of VECTOR alike.
const LIST: i8 = 4;

type Read<T> = Result<T, Failure>;

/// What the host calls a connection, a statement or a cursor by.
pub type Handle = u64;

fn malformed(what: &str) -> Failure {
    Failure::new("protocol", format!("malformed request: {what}"))
}

fn bad_parameter(what: impl Into<String>) -> Failure {
    Failure::new("parameter_value", what)
}

#[derive(Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn array(&mut self) -> Read<u32> {
        decode::read_array_len(&mut self.rest).map_err(|_| malformed("an array was expected"))
    }

    pub fn map(&mut self) -> Read<u32> {
        decode::read_map_len(&mut self.rest).map_err(|_| malformed("a map was expected"))
    }

    pub fn number(&mut self) -> Read<u32> {
        decode::read_int(&mut self.rest).map_err(|_| malformed("a number of 32 bits was expected"))
    }

    pub fn handle(&mut self) -> Read<Handle> {
        decode::read_int(&mut self.rest).map_err(|_| malformed("a handle was expected"))
    }

    pub fn text(&mut self) -> Read<&'a str> {
        let (text, rest) =
            decode::read_str_from_slice(self.rest).map_err(|_| malformed("a text was expected"))?;
        self.rest = rest;
        Ok(text)
    }

    /// The kind of the next value, which stays unread.
    pub fn peek(&self) -> Read<Marker> {
        self.rest.first().map(|byte| Marker::from_u8(*byte)).ok_or_else(|| malformed("it ends too early"))
    }

    pub fn is_nil(&mut self) -> Read<bool> {
        let nil = self.peek()? == Marker::Null;
        if nil {
            self.rest = &self.rest[1..];
        }
        Ok(nil)
    }

    fn take(&mut self, length: usize) -> Read<&'a [u8]> {
        if length > self.rest.len() {
            return Err(malformed("it ends too early"));
        }
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(taken)
    }

    fn marker(&mut self) -> Read<Marker> {
        decode::read_marker(&mut self.rest).map_err(|_| malformed("it ends too early"))
    }

    /// A parameter's value; `lists_are_vectors` where the statement calculates with vectors.
    pub fn value(&mut self, lists_are_vectors: bool) -> Read<Value> {
        fn end(_: ValueReadError) -> Failure {
            malformed("it ends too early")
        }
        let rest = &mut self.rest;
        let value = match decode::read_marker(rest).map_err(|e| end(e.into()))? {
            Marker::Null => Value::Null(DataType::Null),
            Marker::True => Value::Boolean(true),
            Marker::False => Value::Boolean(false),
            Marker::FixPos(number) => Value::Integer(number.into()),
            Marker::FixNeg(number) => Value::Integer(number.into()),
            Marker::U8 => Value::Integer(rest.read_data_u8().map_err(end)?.into()),
            Marker::U16 => Value::Integer(rest.read_data_u16().map_err(end)?.into()),
            Marker::U32 => Value::Integer(rest.read_data_u32().map_err(end)?.into()),
            Marker::U64 => {
                let number = rest.read_data_u64().map_err(end)?;
                Value::Integer(number.try_into().map_err(|_| {
                    bad_parameter(format!("the integer {number} does not fit in 64 bits with a sign"))
                })?)
            }
            Marker::I8 => Value::Integer(rest.read_data_i8().map_err(end)?.into()),
            Marker::I16 => Value::Integer(rest.read_data_i16().map_err(end)?.into()),
            Marker::I32 => Value::Integer(rest.read_data_i32().map_err(end)?.into()),
            Marker::I64 => Value::Integer(rest.read_data_i64().map_err(end)?),
            Marker::F32 => Value::Float(rest.read_data_f32().map_err(end)?.into()),
            Marker::F64 => Value::Float(rest.read_data_f64().map_err(end)?),
            marker @ (Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32) => {
                let length = match marker {
                    Marker::FixStr(length) => length.into(),
                    Marker::Str8 => rest.read_data_u8().map_err(end)?.into(),
                    Marker::Str16 => rest.read_data_u16().map_err(end)?.into(),
                    _ => rest.read_data_u32().map_err(end)? as usize,
                };
                let bytes = self.take(length)?;
                Value::text(std::str::from_utf8(bytes).map_err(|_| bad_parameter("the text is not UTF-8"))?)
            }
            marker => {
                let length = match marker {
                    Marker::FixExt1 => 1,
                    Marker::FixExt2 => 2,
                    Marker::FixExt4 => 4,
                    Marker::FixExt8 => 8,
                    Marker::FixExt16 => 16,
                    Marker::Ext8 => rest.read_data_u8().map_err(end)? as usize,
                    Marker::Ext16 => rest.read_data_u16().map_err(end)? as usize,
                    Marker::Ext32 => rest.read_data_u32().map_err(end)? as usize,
                    _ => return Err(malformed("a value was expected")),
                };
                let kind = rest.read_data_i8().map_err(end)?;
                extension(kind, self.take(length)?, lists_are_vectors)?
            }
        };
        Ok(value)
    }

    /// Passes over a value that nobody asked for.
    pub fn skip_value(&mut self) -> Read<()> {
        self.value(false).map(drop)
    }

    /// The head of the parameters.
    pub fn parameters(&mut self) -> Read<Parameters> {
        match self.peek()? {
            Marker::Null => self.marker().map(|_| Parameters::Sequence(0)),
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => self.map().map(Parameters::Mapping),
            _ => self.array().map(Parameters::Sequence),
        }
    }
}

/// How many parameters follow, and whether names stand before them.
pub enum Parameters {
    Sequence(u32),
    Mapping(u32),
}

fn extension(kind: i8, bytes: &[u8], lists_are_vectors: bool) -> Read<Value> {
    match kind {
        TIMESTAMP => timestamp(bytes),
        NANOSECONDS => {
            let nanoseconds =
                i64::from_be_bytes(bytes.try_into().map_err(|_| malformed("nanoseconds have 8 bytes"))?);
            Ok(Value::timestamp(DateTime::from_timestamp_nanos(nanoseconds)))
        }
        JSON => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::json(text)),
            Err(_) => Err(bad_parameter("the JSON text is not UTF-8")),
        },
        VECTOR if bytes.len().is_multiple_of(4) && bytes.len() / 4 <= u16::MAX as usize => {
            let (floats, _) = bytes.as_chunks::<4>();
            Ok(Value::vector(floats.iter().map(|float| f32::from_le_bytes(*float)).collect()))
        }
        VECTOR => Err(bad_parameter("a vector has at most 65535 floats")),
        LIST => {
            let text = std::str::from_utf8(bytes).map_err(|_| bad_parameter("the list is not UTF-8"))?;
            let vector = if lists_are_vectors { parse_vector_str(text) } else { None };
            Ok(vector.map_or_else(|| Value::text(text), Value::vector))
        }
        _ => Err(malformed("an extension type is unknown")),
    }
}

fn timestamp(bytes: &[u8]) -> Read<Value> {
    let (seconds, nanoseconds) = match bytes.len() {
        4 => (u32::from_be_bytes(bytes.try_into().expect("4 bytes")).into(), 0),
        8 => {
            let word = u64::from_be_bytes(bytes.try_into().expect("8 bytes"));
            ((word & 0x3_ffff_ffff) as i64, (word >> 34) as u32)
        }
        12 => {
            let (head, tail) = bytes.split_at(4);
            let nanoseconds = u32::from_be_bytes(head.try_into().expect("4 bytes"));
            (i64::from_be_bytes(tail.try_into().expect("8 bytes")), nanoseconds)
        }
        _ => return Err(malformed("a timestamp has 4, 8 or 12 bytes")),
    };
    // What cannot be said in nanoseconds would be stored wrapped around.
    DateTime::<Utc>::from_timestamp(seconds, nanoseconds)
        .filter(|moment| moment.timestamp_nanos_opt().is_some())
        .map(Value::timestamp)
        .ok_or_else(|| bad_parameter("a timestamp lies between 1677-09-21 and 2262-04-11"))
}

/// How results are to be written.
#[derive(Clone, Copy, Default)]
pub struct Style {
    /// Timestamps as nanoseconds since 1970, in place of MessagePack's own type.
    pub nanoseconds: bool,
    /// Rows as maps with the names of the columns, in place of arrays.
    pub maps: bool,
}

/// The names of columns as the keys of maps, written.
pub fn keys<T: AsRef<str>>(columns: impl Iterator<Item = T>) -> Vec<Vec<u8>> {
    let written = |name: T| {
        let mut key = Vec::new();
        Writer::new(&mut key).text(name.as_ref());
        key
    };
    columns.map(written).collect()
}

pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

/// Where a length, or a number, is filled in later.
#[derive(Clone, Copy)]
pub struct Opened(usize);

// Writing to a buffer in memory cannot fail.
const INFALLIBLE: &str = "a Vec takes every write";

impl<'a> Writer<'a> {
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    pub fn position(&self) -> usize {
        self.out.len()
    }

    /// Takes back what was written since `position`.
    pub fn rewind(&mut self, position: usize) {
        self.out.truncate(position);
    }

    pub fn nil(&mut self) {
        encode::write_nil(&mut self.out).expect(INFALLIBLE);
    }

    pub fn boolean(&mut self, value: bool) {
        encode::write_bool(&mut self.out, value).expect(INFALLIBLE);
    }

    pub fn number(&mut self, value: u64) {
        encode::write_uint(&mut self.out, value).expect(INFALLIBLE);
    }

    pub fn integer(&mut self, value: i64) {
        encode::write_sint(&mut self.out, value).expect(INFALLIBLE);
    }

    pub fn text(&mut self, text: &str) {
        encode::write_str(&mut self.out, text).expect(INFALLIBLE);
    }

    pub fn array(&mut self, length: usize) {
        encode::write_array_len(&mut self.out, length as u32).expect(INFALLIBLE);
    }

    pub fn map(&mut self, length: usize) {
        encode::write_map_len(&mut self.out, length as u32).expect(INFALLIBLE);
    }

    pub fn texts<T: AsRef<str>>(&mut self, texts: impl ExactSizeIterator<Item = T>) {
        self.array(texts.len());
        texts.for_each(|text| self.text(text.as_ref()));
    }

    pub fn open_array(&mut self) -> Opened {
        self.open(0xdd)
    }

    pub fn close_array(&mut self, opened: Opened, length: u32) {
        self.close(opened, length);
    }

    pub fn open_bytes(&mut self) -> Opened {
        self.open(0xc6)
    }

    pub fn close_bytes(&mut self, opened: Opened) {
        let length = self.out.len() - opened.0 - 4;
        self.close(opened, length as u32);
    }

    /// A number of 64 bits, which is 0 until it is closed.
    pub fn open_number(&mut self) -> Opened {
        self.out.push(0xcf);
        let opened = Opened(self.out.len());
        self.out.extend_from_slice(&[0; 8]);
        opened
    }

    pub fn close_number(&mut self, opened: Opened, value: u64) {
        self.out[opened.0..opened.0 + 8].copy_from_slice(&value.to_be_bytes());
    }

    fn open(&mut self, marker: u8) -> Opened {
        self.out.push(marker);
        let opened = Opened(self.out.len());
        self.out.extend_from_slice(&[0; 4]);
        opened
    }

    fn close(&mut self, opened: Opened, length: u32) {
        self.out[opened.0..opened.0 + 4].copy_from_slice(&length.to_be_bytes());
    }

    pub fn row(&mut self, row: &Row, columns: usize, style: Style) {
        self.array(columns);
        for column in 0..columns {
            match row.get(column) {
                Some(value) => self.value(value, style),
                None => self.nil(),
            }
        }
    }

    pub fn map_row(&mut self, row: &Row, names: &[Vec<u8>], style: Style) {
        self.map(names.len());
        for (column, name) in names.iter().enumerate() {
            self.out.extend_from_slice(name);
            match row.get(column) {
                Some(value) => self.value(value, style),
                None => self.nil(),
            }
        }
    }

    fn value(&mut self, value: &Value, style: Style) {
        match value {
            Value::Null(_) => self.nil(),
            Value::Integer(number) => self.integer(*number),
            Value::Float(number) => encode::write_f64(&mut self.out, *number).expect(INFALLIBLE),
            Value::Text(text) => self.text(text.as_ref()),
            Value::Boolean(truth) => self.boolean(*truth),
            Value::Timestamp(moment) => self.timestamp(*moment, style),
            Value::Extension(data) => match data.split_first() {
                Some((tag, json)) if *tag == DataType::Json as u8 => self.extension(JSON, json),
                Some((tag, floats)) if *tag == DataType::Vector as u8 => self.extension(VECTOR, floats),
                _ => self.text(&value.to_string()),
            },
        }
    }

    fn timestamp(&mut self, moment: DateTime<Utc>, style: Style) {
        match moment.timestamp_nanos_opt() {
            Some(nanoseconds) if style.nanoseconds => {
                self.extension(NANOSECONDS, &nanoseconds.to_be_bytes());
            }
            _ => {
                let mut bytes = [0; 12];
                bytes[..4].copy_from_slice(&moment.timestamp_subsec_nanos().to_be_bytes());
                bytes[4..].copy_from_slice(&moment.timestamp().to_be_bytes());
                self.extension(TIMESTAMP, &bytes);
            }
        }
    }

    fn extension(&mut self, kind: i8, bytes: &[u8]) {
        encode::write_ext_meta(&mut self.out, bytes.len() as u32, kind).expect(INFALLIBLE);
        self.out.extend_from_slice(bytes);
    }
}
