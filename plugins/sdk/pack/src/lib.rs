//! Puts a plugin's manifest into its component as a custom section, and reads it back without running anything.
//!
//! Works on any finished component, whatever language made it, and touches no other section. It does not read the
//! manifest itself, and it does not validate the component: the engine does both.

/// The custom section that holds `plugin.toml`, byte for byte.
pub const SECTION: &str = "sereno:manifest";

/// A manifest is read before anything is known of its author: enough for hundreds of params, little enough to be
/// harmless.
pub const MANIFEST_BYTES_MAX: usize = 256 << 10;

/// Magic, then version 13 of layer 1: a component.
const COMPONENT_HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";
/// Magic, then version 1 of layer 0: a core module.
const MODULE_HEADER: [u8; 8] = *b"\0asm\x01\0\0\0";
/// The id of custom sections, in modules and components alike.
const CUSTOM: u8 = 0;

/// Why nothing was packed or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// A core module, which is what `wasm32-wasip1` and `wasm32-unknown-unknown` make.
    #[error(
        "this is a core module, not a component: build it for wasm32-wasip2, or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// Not WebAssembly, or of a version that nobody knows.
    #[error("this is not a WebAssembly component")]
    NotAComponent,
    /// The sections do not fill the file.
    #[error("the component is cut off or damaged at byte {at}")]
    Damaged {
        /// Where the section starts that cannot be read.
        at: usize,
    },
    /// More than [`MANIFEST_BYTES_MAX`].
    #[error("the manifest has {bytes} bytes, more than the {MANIFEST_BYTES_MAX} that are read")]
    TooLarge {
        /// How large it is.
        bytes: usize,
    },
    /// The section is there, and no text.
    #[error("the manifest in the component is not UTF-8")]
    NotText,
    /// Two sections of the name: which one would hold depends on the reader.
    #[error("the component has more than one manifest")]
    Several,
}

/// The same component with `manifest_toml` as its manifest, in place of one that it may have. The same input always
/// gives the same bytes, and packing twice gives what packing once does.
///
/// # Errors
/// What was given is no component, or the manifest is too large.
pub fn append(component: &[u8], manifest_toml: &str) -> Result<Vec<u8>, PackError> {
    if manifest_toml.len() > MANIFEST_BYTES_MAX {
        return Err(PackError::TooLarge {
            bytes: manifest_toml.len(),
        });
    }
    let mut packed = Vec::with_capacity(component.len() + manifest_toml.len() + 32);
    packed.extend_from_slice(&COMPONENT_HEADER);
    for section in sections(component)? {
        let section = section?;
        if section.manifest().is_none() {
            packed.extend_from_slice(section.whole);
        }
    }
    let name_length = leb128(SECTION.len());
    packed.push(CUSTOM);
    packed.extend(leb128(name_length.len() + SECTION.len() + manifest_toml.len()));
    packed.extend(name_length);
    packed.extend_from_slice(SECTION.as_bytes());
    packed.extend_from_slice(manifest_toml.as_bytes());
    Ok(packed)
}

/// The manifest in `component`; none when it was never packed.
///
/// # Errors
/// What was given is no component, or its manifest is too large, no text, or there twice.
pub fn read(component: &[u8]) -> Result<Option<&str>, PackError> {
    let mut found = None;
    for section in sections(component)? {
        let section = section?;
        let Some(manifest) = section.manifest() else {
            continue;
        };
        if manifest.len() > MANIFEST_BYTES_MAX {
            return Err(PackError::TooLarge {
                bytes: manifest.len(),
            });
        }
        let text = std::str::from_utf8(manifest).map_err(|_| PackError::NotText)?;
        if found.replace(text).is_some() {
            return Err(PackError::Several);
        }
    }
    Ok(found)
}

/// One section of the outermost component; those inside nested modules are part of their payload.
struct Section<'a> {
    id: u8,
    whole: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Section<'a> {
    /// What it holds, if it is a manifest.
    fn manifest(&self) -> Option<&'a [u8]> {
        let (length, used) = read_leb128(self.payload).filter(|_| self.id == CUSTOM)?;
        let name_and_data = &self.payload[used..];
        let (name, data) = name_and_data.split_at_checked(length)?;
        (name == SECTION.as_bytes()).then_some(data)
    }
}

/// The sections of a component, in order.
fn sections(component: &[u8]) -> Result<impl Iterator<Item = Result<Section<'_>, PackError>>, PackError> {
    let header = component.get(..8).ok_or(PackError::NotAComponent)?;
    if header == MODULE_HEADER {
        return Err(PackError::CoreModule);
    }
    if header != COMPONENT_HEADER {
        return Err(PackError::NotAComponent);
    }
    let mut at = header.len();
    Ok(std::iter::from_fn(move || {
        let rest = component.get(at..).filter(|rest| !rest.is_empty())?;
        let start = at;
        let section = read_section(rest);
        // After damage there is nothing to go on from.
        at = section
            .as_ref()
            .map_or(component.len(), |section| start + section.whole.len());
        Some(section.ok_or(PackError::Damaged { at: start }))
    }))
}

fn read_section(bytes: &[u8]) -> Option<Section<'_>> {
    let (&id, rest) = bytes.split_first()?;
    let (length, used) = read_leb128(rest)?;
    let payload = rest.get(used..)?.get(..length)?;
    Some(Section {
        id,
        whole: &bytes[..1 + used + length],
        payload,
    })
}

/// An unsigned 32-bit LEB128 number, as short as it can be.
fn leb128(number: usize) -> Vec<u8> {
    let mut rest = number;
    let mut bytes = Vec::with_capacity(5);
    loop {
        let low = u8::try_from(rest & 0x7f).expect("seven bits fit");
        rest >>= 7;
        if rest == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A number and how many bytes it took; none where the bytes end or the number is longer than 32 bits.
fn read_leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut number = 0_u64;
    for (place, byte) in bytes.iter().take(5).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let number = u32::try_from(number).ok()?;
            return Some((usize::try_from(number).ok()?, place + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[plugin]\nname = \"año\"\n";

    /// A component with a core module inside (whose own custom section must stay), and a producers section.
    fn component() -> Vec<u8> {
        let mut module = MODULE_HEADER.to_vec();
        module.extend(custom("sereno:manifest", b"a decoy inside a module"));
        let mut component = COMPONENT_HEADER.to_vec();
        component.push(1);
        component.extend(leb128(module.len()));
        component.extend(module);
        component.extend(custom("producers", &[0]));
        component
    }

    fn custom(name: &str, data: &[u8]) -> Vec<u8> {
        let mut payload = leb128(name.len());
        payload.extend_from_slice(name.as_bytes());
        payload.extend_from_slice(data);
        let mut section = vec![CUSTOM];
        section.extend(leb128(payload.len()));
        section.extend(payload);
        section
    }

    fn assert_valid(component: &[u8]) {
        wasmparser::Validator::new()
            .validate_all(component)
            .expect("a valid component");
    }

    #[test]
    fn a_manifest_comes_back_byte_for_byte_and_the_component_stays_valid() {
        let component = component();
        assert_valid(&component);
        assert_eq!(
            read(&component),
            Ok(None),
            "the section inside the module is not the component's"
        );
        for manifest in ["", MANIFEST, &"#".repeat(127), &"#".repeat(20_000)] {
            let packed = append(&component, manifest).expect("a component");
            assert_valid(&packed);
            assert_eq!(read(&packed), Ok(Some(manifest)));
            assert!(packed.starts_with(&component), "nothing else has moved");
        }
    }

    #[test]
    fn packing_again_replaces_the_manifest_and_nothing_else() {
        let once = append(&component(), "old").expect("a component");
        let twice = append(&once, MANIFEST).expect("a packed component");
        assert_eq!(twice, append(&component(), MANIFEST).expect("a component"));
    }

    #[test]
    fn a_core_module_is_told_apart_from_what_is_no_webassembly() {
        assert_eq!(append(&MODULE_HEADER, MANIFEST), Err(PackError::CoreModule));
        assert_eq!(read(&MODULE_HEADER), Err(PackError::CoreModule));
        for other in [&b""[..], b"\0asm", b"#!/bin/sh\nexit 0\n", b"\0asm\x0e\0\x01\0"] {
            assert_eq!(append(other, MANIFEST), Err(PackError::NotAComponent));
        }
    }

    #[test]
    fn a_manifest_of_the_largest_size_is_packed_and_one_byte_more_is_not() {
        let largest = "#".repeat(MANIFEST_BYTES_MAX);
        let packed = append(&component(), &largest).expect("the largest manifest");
        assert_eq!(
            read(&packed).map(|text| text.map(str::len)),
            Ok(Some(MANIFEST_BYTES_MAX))
        );
        let bytes = MANIFEST_BYTES_MAX + 1;
        assert_eq!(
            append(&component(), &"#".repeat(bytes)),
            Err(PackError::TooLarge { bytes })
        );
        let mut foreign = component();
        foreign.extend(custom(SECTION, &vec![b'#'; bytes]));
        assert_eq!(read(&foreign), Err(PackError::TooLarge { bytes }));
    }

    #[test]
    fn a_component_cut_off_anywhere_is_damaged_or_simply_shorter_and_never_a_panic() {
        let packed = append(&component(), MANIFEST).expect("a component");
        let mut damaged = 0;
        for end in 8..packed.len() {
            match read(&packed[..end]) {
                Err(PackError::Damaged { at }) => {
                    assert!(at < end);
                    damaged += 1;
                }
                // A cut between two sections leaves a component that was never packed.
                other => assert_eq!(other, Ok(None), "cut at {end}"),
            }
        }
        assert_eq!(
            damaged,
            packed.len() - 8 - 3,
            "all cuts but the three between sections"
        );
    }

    #[test]
    fn a_manifest_that_is_no_text_or_is_there_twice_is_refused() {
        let mut component = component();
        component.extend(custom(SECTION, &[0xff, 0xfe]));
        assert_eq!(read(&component), Err(PackError::NotText));
        let mut component = append(&self::component(), "one").expect("a component");
        component.extend(custom(SECTION, b"two"));
        assert_eq!(read(&component), Err(PackError::Several));
    }
}
