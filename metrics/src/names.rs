//! The names of all metrics, in one place. `docs/metrics.md` lists them with their labels; a test keeps both equal.
//!
//! Base units, `_total` on counters. Label values come from enums or from the configuration, never from the network.

/// A metric: its name and its help text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metric {
    /// The name.
    pub name: &'static str,
    /// What it counts, for `# HELP`.
    pub help: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $constant:ident = $name:literal, [$($label:literal),*], $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric = Metric { name: $name, help: $help, labels: &[$($label),*] };
        )*
        /// All metrics.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    BUILD_INFO = "byline_build_info", ["version"], "The running version; always 1.";
    POLICY_INFO = "byline_policy_info", ["digest", "mode"], "The policy in force; always 1.";
    RELOAD_SUCCESSFUL = "byline_config_last_reload_successful", [],
        "Whether the last start or reload took its configuration and policy (1) or kept the old ones (0).";
    RELOAD_TIMESTAMP = "byline_config_last_reload_success_timestamp_seconds", [],
        "When configuration and policy were last taken, in seconds since the Unix epoch.";
    RELOADS = "byline_config_reloads_total", ["result"], "Starts and reloads by result.";

    CONNECTIONS_OPEN = "byline_connections_open", [], "Client connections open now.";
    CONNECTIONS = "byline_connections_total", [], "Client connections accepted.";
    REQUESTS = "byline_requests_total", ["class", "status"],
        "Requests answered, by what became of them and by class of status.";
    REQUEST_DURATION = "byline_request_duration_seconds", ["class"],
        "Time from the request head to the response head, as the client gets it.";
    ADDED_LATENCY = "byline_added_latency_seconds", ["class"],
        "The part of that time that is not the origin's: deciding, and waiting for the ledger.";
    SHED = "byline_shed_total", ["limit"],
        "Requests and connections turned away, by the limit that they met.";
    UPSTREAM_FAILURES = "byline_upstream_failures_total", ["kind"],
        "Origins that gave no response, or not all of it.";

    FETCHES = "byline_fetches_total", ["crawler", "outcome"], "Metered fetches of AI crawlers.";
    DELIVERED_BYTES = "byline_delivered_bytes_total", ["crawler"],
        "Body bytes delivered to AI crawlers, as they were on the wire.";
    VERDICTS = "byline_verdicts_total", ["verdict", "unit"],
        "Metered fetches by what the deciding rule says and by the unit of its price.";
    ASSURANCE = "byline_fetches_by_assurance_total", ["assurance"],
        "Metered fetches by the rung that the crawler's identity reached.";
    REPEATS = "byline_repeats_total", [], "Metered fetches that were free because the version was bought before.";
    WORDS_CAPPED = "byline_word_counts_capped_total", [], "Word counts that stopped at a limit.";
    QUOTED = "byline_quoted_money_total", ["crawler", "currency"],
        "What metered fetches would cost, in units of the currency; for watching, never for a bill.";
    OWED = "byline_owed_money_total", ["crawler", "currency"],
        "What is owed for metered fetches, in units of the currency; for watching, never for a bill.";
    SETTLED = "byline_settled_money_total", ["crawler", "currency"],
        "What was paid before delivery, in units of the currency; for watching, never for a bill.";
    REFUSALS = "byline_refusals_total", ["crawler", "reason"], "Fetches refused.";
    SPOOFS = "byline_spoofs_total", ["crawler"], "Fetches whose claimed name was contradicted by evidence.";
    UNMETERED = "byline_unmetered_fetches_total", ["reason"],
        "Fetches of AI crawlers that passed without a record because the ledger took none.";
    UNMETERED_BYTES = "byline_unmetered_bytes_total", ["reason"],
        "Body bytes of fetches that passed without a record.";
    ROLLED_FETCHES = "byline_rolled_up_fetches_total", [],
        "Delivered fetches that were summed in roll-ups instead of getting records of their own.";
    ROLLUPS = "byline_rollups_total", [], "Roll-up entries written.";

    RANGE_LIST_AGE = "byline_range_list_age_seconds", ["list"],
        "Age of the last good copy of a published address list; NaN if there is none.";
    AGENT_KEYS_AGE = "byline_agent_keys_age_seconds", ["agent"],
        "Age of the last good copy of the keys of a crawler that signs; NaN if there is none.";
    SIGNATURES = "byline_signatures_total", ["verdict"], "Signed requests of AI crawlers, by what their signatures proved.";
    SIGNAL_DRIFT = "byline_signal_drift_total", ["signal", "kind"],
        "Responses in which the origin says something else about AI crawlers than the policy does, by signal.";
    LICENCE_TOKENS = "byline_licence_tokens_total", ["result"],
        "Licence tokens that clients asked the built-in licence server for, by what they got.";
    LOOKUPS = "byline_reverse_dns_lookups_total", ["result"], "Reverse DNS look-ups of crawlers' addresses.";

    HELD_BYTES = "byline_held_buffer_bytes", [], "Body bytes that wait for the ledger before they leave.";
    LEDGER_STATE = "byline_ledger_state", ["state"], "1 for the state that the ledger is in.";
    LEDGER_ENTRIES = "byline_ledger_entries", [], "Durable entries since the beginning of the ledger.";
    LEDGER_SIZE = "byline_ledger_size_bytes", [], "Bytes of the ledger's files.";
    LEDGER_SEGMENTS = "byline_ledger_segments", [], "Segment files of the ledger.";
    LEDGER_QUEUE = "byline_ledger_queue_entries", [], "Entries reserved, waiting or being written.";
    LEDGER_QUEUE_CAPACITY = "byline_ledger_queue_capacity_entries", [], "Entries that the queue has room for.";
    LEDGER_ACCEPTED = "byline_ledger_accepted_entries_total", [], "Entries handed to the ledger.";
    LEDGER_APPENDED = "byline_ledger_appended_entries_total", [], "Entries acknowledged as durable.";
    LEDGER_REFUSED = "byline_ledger_refused_entries_total", [],
        "Entries refused after they were handed to the ledger.";
    LEDGER_COMMITS = "byline_ledger_commits_total", [], "Group commits.";
    LEDGER_PAUSES = "byline_ledger_pauses_total", [], "Times without space on the ledger's disk.";
    LEDGER_COMMIT_DURATION = "byline_ledger_commit_seconds", [],
        "Time from handing in an entry to its acknowledgement.";
}
