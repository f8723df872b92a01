//! What was paid before is free for a while: the keys of versions that an operator has paid or was quoted for.
