//! One pure function from a record to its amount.
