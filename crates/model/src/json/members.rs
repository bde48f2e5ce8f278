//! Structs of named members, from one table each: the struct, how it is read and how it is written.

use super::{Object, Unfit};

/// A struct that is the members of a JSON object.
pub(crate) trait Members: Sized {
    /// Reads the members that are known; those that are not there, or null, are their default.
    fn read(object: &Object) -> Result<Self, Unfit>;

    /// The members that are not their default, and those that are always there.
    fn write(&self) -> Object;
}

/// Declares a struct of members. Each line is `name: Type`; `name as "Name"` where JSON calls it otherwise; `= always`
/// where it is written though it says nothing. `; original` at the end adds a private field of that name for the object
/// that a document was read from.
macro_rules! members {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$field_meta:meta])* $field:ident $(as $key:literal)?: $type:ty $(= $always:ident)?,)*
            $(; $original:ident)?
        }
    ) => {
        $(#[$meta])*
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            $(/// The members it was read from.
            $original: $crate::json::Object,)?
        }

        impl $crate::json::Members for $name {
            fn read(object: &$crate::json::Object) -> Result<Self, $crate::json::Unfit> {
                Ok(Self {
                    $($field: object.member(members!(@key $field $($key)?))?,)*
                    $($original: $crate::json::Object::default(),)?
                })
            }

            fn write(&self) -> $crate::json::Object {
                let mut object = $crate::json::Object::default();
                $(if members!(@always $($always)?) || self.$field != <$type>::default() {
                    object.put_value(members!(@key $field $($key)?), &self.$field);
                })*
                object
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::json::Members::write(self).serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let object = $crate::json::Object::deserialize(deserializer)?;
                $crate::json::Members::read(&object).map_err(serde::de::Error::custom)
            }
        }
    };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@always) => { false };
    (@always always) => { true };
}

pub(crate) use members;
