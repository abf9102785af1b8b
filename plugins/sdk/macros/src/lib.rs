//! The one attribute of `sereno-plugin`: typed params from `plugin.toml`, and the component's export.
//!
//! It reads the manifest for the params' names and types only; ranges, needs and everything else are the host's.

mod manifest;
mod params;

use std::path::PathBuf;

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Error, ItemFn, LitStr};

/// Makes a function the plugin, with `Params` out of the `plugin.toml` beside `Cargo.toml`.
///
/// ```text
/// #[sereno_plugin::plugin]
/// fn run(context: &Context, params: &Params, host: &mut impl Host) -> Result<Outcome, Failure> {
///     task::run(context, params, host)
/// }
/// ```
///
/// Beside the function this puts `pub struct Params`, a struct for each record and an enum for each param of type
/// `enum` (named after the param: `age_by` gives `AgeBy`, the field `op` of `where` gives `WhereOp`), and
/// `pub const MANIFEST: &str`, the file's text. A change of the file rebuilds the plugin. Natively that is all; for
/// WebAssembly the contract's export is added.
///
/// `#[plugin(manifest = "other.toml")]` reads another file, below the crate's folder.
#[proc_macro_attribute]
pub fn plugin(attribute: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let mut file = "plugin.toml".to_owned();
    let parser = syn::meta::parser(|meta| {
        if meta.path.is_ident("manifest") {
            file = meta.value()?.parse::<LitStr>()?.value();
            Ok(())
        } else {
            Err(meta.error("the only option is `manifest = \"plugin.toml\"`"))
        }
    });
    syn::parse_macro_input!(attribute with parser);
    let function = syn::parse_macro_input!(item as ItemFn);
    expand(&file, &function)
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

fn expand(file: &str, function: &ItemFn) -> Result<TokenStream, Error> {
    let signature = &function.sig;
    if signature.inputs.len() != 3 || signature.asyncness.is_some() {
        return Err(Error::new_spanned(
            signature,
            "a plugin is `fn run(context: &Context, params: &Params, host: &mut impl Host) -> Result<Outcome, Failure>`",
        ));
    }
    let folder = std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .unwrap_or_default();
    let text = std::fs::read_to_string(folder.join(file))
        .map_err(|error| Error::new(Span::call_site(), format!("could not read {file}: {error}")))?;
    let refuse = |problem: String| Error::new(Span::call_site(), format!("{file}: {problem}"));
    let declared = manifest::params(&text).map_err(refuse)?;
    let params = params::generate(&declared).map_err(refuse)?;
    let name = &signature.ident;
    // Relative to the crate, so that no machine's path gets into the output, and tracked, so that a change rebuilds.
    let path = format!("/{file}");
    Ok(quote! {
        #[cfg_attr(not(target_family = "wasm"), allow(dead_code, reason = "natively only tests call a plugin"))]
        #function

        /// The text of the manifest.
        pub const MANIFEST: &str = ::core::include_str!(::core::concat!(::core::env!("CARGO_MANIFEST_DIR"), #path));

        #params

        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Component;
            impl ::sereno_plugin::glue::Guest for Component {
                fn run(
                    context: ::sereno_plugin::glue::bindings::Context,
                ) -> ::core::result::Result<
                    ::sereno_plugin::glue::bindings::Outcome,
                    ::sereno_plugin::glue::bindings::Failure,
                > {
                    ::sereno_plugin::glue::call(context, |context, params: &Params, host| {
                        #name(context, params, host)
                    })
                }
            }
            ::sereno_plugin::glue::export_plugin!(Component with_types_in ::sereno_plugin::glue::bindings);
        };
    })
}
