//! Plan mode: decorators of the ports that map every changing verb to its `preview_` twin.
