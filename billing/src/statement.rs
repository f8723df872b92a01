//! Statements for operators and holders.
