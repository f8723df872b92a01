//! What operators owe, hold and have used up.
