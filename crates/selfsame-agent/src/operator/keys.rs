//! Keys as people type them.

use selfsame_core::{Key, KeyAs, KeyPart};

use crate::settings::CollectionSettings;

/// The key that somebody means who types this: JSON, or else plain text; as text where the collection compares keys
/// so. Of a collection that is configured no more, only its journals know.
pub(super) fn typed_key(collection: Option<&CollectionSettings>, typed: &str) -> Key {
    let key = Key::from_typed(typed);
    let first = collection.and_then(|collection| collection.replicas.first());
    if first.is_none_or(|replica| replica.mapping.key_as != KeyAs::String) {
        return key;
    }
    let parts: Vec<KeyPart> = key.parts().iter().cloned().map(KeyPart::into_text).collect();
    Key::new(parts).unwrap_or(key)
}
