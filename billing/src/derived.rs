//! State derived from the ledger, kept beside it.
