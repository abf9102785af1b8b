//! Rust types for params, and the code that reads them.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};

use crate::manifest::{Kind, Param};

/// `Params` and every type that it is made of.
pub(crate) fn generate(params: &[Param]) -> Result<TokenStream, String> {
    let mut items = Vec::new();
    record(
        "Params",
        "",
        "The job's params, as `plugin.toml` declares them.",
        params,
        &mut items,
    )?;
    Ok(quote! { #(#items)* })
}

/// A struct of these fields; the types inside are named `prefix` and the field's name.
fn record(
    name: &str,
    prefix: &str,
    doc: &str,
    fields: &[Param],
    items: &mut Vec<TokenStream>,
) -> Result<(), String> {
    let mut names = Vec::new();
    let mut types = Vec::new();
    for field in fields {
        names.push(identifier(&field.name)?);
        let kind = rust_type(
            &field.kind,
            &format!("{prefix}{}", camel(&field.name)),
            &field.doc,
            items,
        )?;
        types.push(if field.always {
            kind
        } else {
            quote! { ::core::option::Option<#kind> }
        });
    }
    let texts: Vec<_> = fields.iter().map(|field| &field.name).collect();
    let docs: Vec<_> = fields
        .iter()
        .map(|field| {
            if field.doc.is_empty() {
                format!("`{}`.", field.name)
            } else {
                field.doc.clone()
            }
        })
        .collect();
    let name = format_ident!("{name}");
    items.push(quote! {
        #[doc = #doc]
        #[derive(Debug, Clone, PartialEq)]
        pub struct #name {
            #(#[doc = #docs] pub #names: #types,)*
        }

        impl ::sereno_plugin::params::FromParam for #name {
            fn from_param(
                value: &::sereno_plugin::params::Json,
                path: &str,
            ) -> ::core::result::Result<Self, ::std::string::String> {
                ::core::result::Result::Ok(Self {
                    #(#names: ::sereno_plugin::params::field(value, path, #texts)?,)*
                })
            }
        }
    });
    Ok(())
}

fn rust_type(
    kind: &Kind,
    name: &str,
    doc: &str,
    items: &mut Vec<TokenStream>,
) -> Result<TokenStream, String> {
    Ok(match kind {
        Kind::Text => quote! { ::std::string::String },
        Kind::Integer => quote! { i64 },
        Kind::Float => quote! { f64 },
        Kind::Boolean => quote! { bool },
        Kind::Duration => quote! { ::core::time::Duration },
        Kind::Size => quote! { u64 },
        Kind::Scalar => quote! { ::sereno_plugin::params::Scalar },
        Kind::List(items_kind) => {
            let inner = rust_type(items_kind, name, doc, items)?;
            quote! { ::std::vec::Vec<#inner> }
        }
        Kind::Record(fields) => {
            let doc = if doc.is_empty() {
                format!("One of `{name}`.")
            } else {
                doc.to_owned()
            };
            record(name, name, &doc, fields, items)?;
            let name = format_ident!("{name}");
            quote! { #name }
        }
        Kind::Enum(values) => {
            enumeration(name, doc, values, items)?;
            let name = format_ident!("{name}");
            quote! { #name }
        }
    })
}

fn enumeration(name: &str, doc: &str, values: &[String], items: &mut Vec<TokenStream>) -> Result<(), String> {
    let variants = values
        .iter()
        .map(|value| variant(value))
        .collect::<Result<Vec<_>, _>>()?;
    let doc = if doc.is_empty() {
        format!("One of `{name}`.")
    } else {
        doc.to_owned()
    };
    let docs = values.iter().map(|value| format!("`{value}`"));
    let listed = format!("one of `{}`", values.join("`, `"));
    let name = format_ident!("{name}");
    items.push(quote! {
        #[doc = #doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum #name {
            #(#[doc = #docs] #variants,)*
        }

        impl #name {
            /// Its text in the manifest and in the configuration.
            pub const fn as_str(self) -> &'static str {
                match self {
                    #(Self::#variants => #values,)*
                }
            }
        }

        impl ::sereno_plugin::params::FromParam for #name {
            fn from_param(
                value: &::sereno_plugin::params::Json,
                path: &str,
            ) -> ::core::result::Result<Self, ::std::string::String> {
                match value.as_str() {
                    #(::core::option::Option::Some(#values) => ::core::result::Result::Ok(Self::#variants),)*
                    _ => ::core::result::Result::Err(::sereno_plugin::params::expected(path, #listed, value)),
                }
            }
        }
    });
    Ok(())
}

/// A field's name, raw where it is a keyword.
fn identifier(name: &str) -> Result<Ident, String> {
    if let Ok(identifier) = syn::parse_str::<Ident>(name) {
        return Ok(identifier);
    }
    let is_word = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_word && !matches!(name, "self" | "super" | "crate" | "Self") {
        Ok(Ident::new_raw(name, Span::call_site()))
    } else {
        Err(format!("the param `{name}` cannot be a Rust name"))
    }
}

/// A variant's name: comparisons by their words, everything else by its own.
fn variant(value: &str) -> Result<Ident, String> {
    let name = match value {
        "=" => "Equal".to_owned(),
        "!=" => "NotEqual".to_owned(),
        "<" => "Less".to_owned(),
        "<=" => "LessOrEqual".to_owned(),
        ">" => "Greater".to_owned(),
        ">=" => "GreaterOrEqual".to_owned(),
        other => camel(other),
    };
    syn::parse_str::<Ident>(&name).map_err(|_| format!("the enum value `{value}` cannot be a Rust name"))
}

/// `age_by`, `is-null` as `AgeBy`, `IsNull`.
fn camel(name: &str) -> String {
    name.split(|c: char| !c.is_ascii_alphanumeric())
        .flat_map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_ascii_uppercase())
                .into_iter()
                .chain(letters)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_rust_names_or_are_refused() {
        assert_eq!(camel("age_by"), "AgeBy");
        assert_eq!(camel("is-not-null"), "IsNotNull");
        assert_eq!(
            identifier("do").map(|name| name.to_string()),
            Ok("r#do".to_owned())
        );
        assert_eq!(
            identifier("keep").map(|name| name.to_string()),
            Ok("keep".to_owned())
        );
        assert!(identifier("self").is_err());
        assert!(identifier("a-b").is_err());
        assert_eq!(
            variant("<=").map(|name| name.to_string()),
            Ok("LessOrEqual".to_owned())
        );
        assert!(variant("~").is_err());
        assert!(variant("3d").is_err());
    }
}
