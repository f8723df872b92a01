//! Cloudflare Logpush, dataset `http_requests`: one JSON object per line, with the fields that were chosen for the job.

use std::borrow::Cow;

use super::event::{Clock, Event, Malformed, set_target};
use super::json::{Fields, time_of};

/// Whether an object carries Cloudflare's names.
pub(super) fn is_its_own(fields: &Fields<'_>) -> bool {
    fields
        .find(&["ClientRequestURI", "ClientRequestPath", "EdgeStartTimestamp", "EdgeResponseStatus"])
        .is_some()
}

/// The event of one object.
///
/// `EdgeResponseBodyBytes` counts what was delivered without headers and is preferred; `EdgeResponseBytes` includes
/// them, so that amounts by the megabyte come out a little high.
pub(super) fn event(mut fields: Fields<'_>) -> Result<Event<'_>, Malformed> {
    let time = fields
        .find(&["EdgeStartTimestamp", "EdgeEndTimestamp"])
        .ok_or(Malformed("no EdgeStartTimestamp in the object"))?;
    let time_secs =
        time_of(time, &mut Clock::default()).ok_or(Malformed("EdgeStartTimestamp cannot be read"))?;
    let mut event = Event {
        time_secs,
        address: fields.take_bytes(&["ClientIP"]),
        host: fields.take_bytes(&["ClientRequestHost"]),
        scheme: fields.take_bytes(&["ClientRequestScheme"]),
        method: fields.take_bytes(&["ClientRequestMethod"]),
        status: fields.status(&["EdgeResponseStatus"])?,
        bytes: fields.size(&["EdgeResponseBodyBytes", "EdgeResponseBytes"])?,
        user_agent: fields.take_bytes(&["ClientRequestUserAgent"]),
        content_type: fields.take_text(&["EdgeResponseContentType"]),
        ..Event::default()
    };
    if fields.find(&["ClientRequestURI", "ClientRequestPath"]).is_none() {
        return Err(Malformed("no ClientRequestURI in the object"));
    }
    let target = fields.take_bytes(&["ClientRequestURI", "ClientRequestPath"]); // empty: it was no request
    set_target(&mut event, target);
    if event.method.is_empty() {
        event.method = Cow::Borrowed(b"GET"); // the field is optional in a job, and most fetches are
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::super::json;
    use super::*;

    #[test]
    fn every_form_of_time_is_read() {
        for time in [r#""2026-11-22T13:40:05Z""#, "1795354805", "1795354805123", "1795354805123456789"] {
            let line = format!(
                r#"{{"ClientIP":"192.0.2.7","ClientRequestHost":"news.example","ClientRequestMethod":"GET","ClientRequestURI":"/a?b","ClientRequestUserAgent":"GPTBot/1.1","EdgeResponseBytes":912,"EdgeResponseBodyBytes":612,"EdgeResponseStatus":200,"EdgeStartTimestamp":{time}}}"#
            );
            let event = json::parse(line.as_bytes(), &mut Clock::default()).expect("a line of Logpush");
            assert_eq!((event.time_secs, event.status, event.bytes), (1_795_354_805, 200, 612), "{time}");
            assert_eq!((&*event.host, &*event.target), (&b"news.example"[..], &b"/a?b"[..]));
        }
    }

    #[test]
    fn a_job_without_the_address_of_a_page_is_named() {
        let line = br#"{"EdgeStartTimestamp":1795354805,"EdgeResponseStatus":200}"#;
        let error = json::parse(line, &mut Clock::default()).expect_err("no URI");
        assert!(error.0.contains("ClientRequestURI"), "{error}");
    }
}
