//! `kill -9`, a flipped byte, a full disk: what the ledger promises when the machine does its worst.

mod alone {
    use std::collections::{HashMap, HashSet};
    use std::net::{Ipv4Addr, SocketAddr};
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};
    use std::thread::JoinHandle;

    use e2e::config::{self, POLICY, RICH, RICH_AGENT, SHOP};
    use e2e::origin::ok;
    use e2e::wait::{self, PATIENCE};
    use e2e::{Byline, Client, Origin, before, configured, get};

    /// How often the process is killed: 50 times, or as often as `BYLINE_KILLS` says.
    const KILLS: u64 = 50;

    /// Crawlers that note every work they have whole, by the token in its path.
    struct Load {
        stop: Arc<AtomicBool>,
        whole: Arc<Mutex<Vec<String>>>,
        threads: Vec<JoinHandle<()>>,
    }

    impl Load {
        fn start(listen: SocketAddr, round: u64, asked: &Arc<AtomicU64>) -> Load {
            let (stop, whole) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<String>>>::default());
            let threads = (0..4)
                .map(|thread| {
                    let (stop, whole, asked) = (stop.clone(), whole.clone(), asked.clone());
                    std::thread::spawn(move || crawl(listen, round, thread, &stop, &asked, &whole))
                })
                .collect();
            Load { stop, whole, threads }
        }

        fn whole(&self) -> usize {
            self.whole.lock().expect("no crawler panicked").len()
        }

        fn end(self) -> Vec<String> {
            self.stop.store(true, Ordering::SeqCst);
            for thread in self.threads {
                thread.join().expect("a crawler");
            }
            std::mem::take(&mut self.whole.lock().expect("no crawler panicked"))
        }
    }

    fn crawl(
        listen: SocketAddr,
        round: u64,
        thread: u64,
        stop: &AtomicBool,
        asked: &AtomicU64,
        whole: &Mutex<Vec<String>>,
    ) {
        let mut client = Client::connect_from(Ipv4Addr::from(RICH), listen);
        while !stop.load(Ordering::SeqCst) {
            let number = asked.fetch_add(1, Ordering::SeqCst);
            let token = format!("r{round}t{thread}n{number}");
            if client.try_send(get(&format!("/every/{token}"), RICH_AGENT)).is_err() {
                return;
            }
            match client.try_answer("GET") {
                Ok(Some(answer)) if answer.status == 200 && answer.complete() => {
                    whole.lock().expect("no crawler panicked").push(token);
                }
                _ => return,
            }
        }
    }

    /// Small works, works beyond the hold, and works without a length.
    fn press() -> Origin {
        Origin::site(|request| match request.target.bytes().last().unwrap_or(b'0') % 4 {
            0 => ok("", "w".repeat(100_000)),
            1 => {
                let body = "c".repeat(30_000);
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7530\r\n{body}\r\n0\r\n\r\n")
                    .into_bytes()
            }
            _ => ok("", "small"),
        })
    }

    fn tokens(byline: &Byline) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for record in byline.records().iter().filter(|record| record["outcome"] == "complete") {
            let url = record["url"].as_str().expect("a record names its work");
            let token = url.rsplit('/').next().expect("a token").to_owned();
            *counts.entry(token).or_insert(0) += 1;
        }
        counts
    }

    #[test]
    fn kills_lose_nothing() {
        let kills = std::env::var("BYLINE_KILLS").map_or(KILLS, |n| n.parse().expect("a number"));
        let origin = press();
        let mut byline = before(origin.url()).policy(SHOP).start();
        let asked = Arc::new(AtomicU64::new(0));
        let mut whole: HashSet<String> = HashSet::new();
        // The number of answers after which the process is killed: varied, but the same in every run.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for round in 0..kills {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let after = (state % 120) as usize;
            let load = Load::start(byline.listen, round, &asked);
            wait::until_true("answers under load", PATIENCE, || load.whole() >= after);
            byline.kill();
            whole.extend(load.end());

            let said = byline.verify();
            assert_eq!(said.code, 0, "round {round}, before the restart: {said:?}");
            byline.start_again();
            let said = byline.verify();
            assert_eq!(said.code, 0, "round {round}, after the restart: {said:?}");
            let counts = tokens(&byline);
            let lost: Vec<_> = whole.iter().filter(|token| !counts.contains_key(*token)).collect();
            assert!(lost.is_empty(), "round {round}: {} of {} lost: {lost:?}", lost.len(), whole.len());
            let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
            assert!(twice.is_empty(), "round {round}: recorded twice: {twice:?}");
            let asked = asked.load(Ordering::SeqCst) as usize;
            assert!(counts.len() <= asked, "{} records for {asked} requests", counts.len());
        }
        println!(
            "{kills} kills: {} works were whole at their clients, {} were recorded",
            whole.len(),
            tokens(&byline).len()
        );
        let paid: i64 =
            byline.records().iter().filter_map(|r| r["amount_nano"].as_str()?.parse::<i64>().ok()).sum();
        let total = byline.statement(&[])["total"].as_str().map(str::to_owned).expect("a total");
        assert_eq!(nano(&total), paid, "the statement says {total}");
    }

    /// A decimal string in nano-units.
    fn nano(decimal: &str) -> i64 {
        let (whole, part) = decimal.split_once('.').unwrap_or((decimal, ""));
        format!("{whole}{part:0<9}").parse().expect("a decimal amount")
    }

    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("a directory");
        for entry in std::fs::read_dir(from).expect("a directory") {
            let entry = entry.expect("an entry");
            let target = to.join(entry.file_name());
            if entry.file_type().expect("a type").is_dir() {
                copy(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).expect("a copy");
            }
        }
    }

    fn files(dir: &Path) -> Vec<PathBuf> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(dir).expect("a directory") {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_dir() {
                all.extend(files(&entry.path()));
            } else {
                all.push(entry.path());
            }
        }
        all.sort();
        all
    }

    #[test]
    fn a_flipped_byte_is_named() {
        let origin = press();
        let text = config::site(&origin.url(), &format!("{POLICY}[ledger]\nsegment = \"64KiB\"\n"));
        let mut byline = configured(text).policy(SHOP).start();
        let mut client = Client::connect_from(Ipv4Addr::from(RICH), byline.listen);
        for n in 0..300 {
            assert_eq!(client.ask(get(&format!("/every/{n}"), RICH_AGENT)).status, 200);
        }
        byline.stop();
        assert_eq!(byline.verify().code, 0);
        let ledger = byline.ledger_dir();
        let segments: Vec<PathBuf> =
            files(&ledger).into_iter().filter(|f| f.extension().is_some_and(|e| e == "seg")).collect();
        assert!(segments.len() > 1, "segments of 64 KiB: {segments:?}");
        let room = tempfile::tempdir().expect("a temporary directory");
        let mut flips = 0;
        for segment in &segments {
            let bytes = std::fs::read(segment).expect("a segment");
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            // A step that is no multiple of a frame's alignment meets every kind of byte.
            for at in (0..used).step_by((used / 40).max(1) | 1) {
                let broken = room.path().join(format!("flip-{flips}"));
                copy(&ledger, &broken);
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << (at % 8);
                let file = broken.join(segment.strip_prefix(&ledger).expect("a file of the ledger"));
                std::fs::write(&file, flipped).expect("a writable copy");
                let said = e2e::byline::run(["verify".into(), broken.clone().into_os_string()]);
                let where_ = format!("byte {at} of {} in {}", bytes.len(), segment.display());
                assert_eq!(said.code, 1, "{where_}: {said:?}");
                assert!(format!("{}{}", said.out, said.err).contains("entry"), "{where_}: {said:?}");
                std::fs::remove_dir_all(&broken).expect("our own copy");
                flips += 1;
            }
        }
        println!("{flips} flipped bytes, {flips} named");
    }

    /// A file system of a few megabytes; gone with the value.
    struct SmallDisk {
        path: PathBuf,
        _dir: tempfile::TempDir,
    }

    impl SmallDisk {
        fn mount() -> Option<SmallDisk> {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let path = dir.path().join("disk");
            std::fs::create_dir(&path).expect("a directory");
            let mounted =
                Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&path).output();
            mounted.is_ok_and(|output| output.status.success()).then_some(SmallDisk { path, _dir: dir })
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(&self.path).status();
        }
    }

    #[test]
    fn a_full_disk_stops_sales_and_nothing_else() {
        let Some(disk) = SmallDisk::mount() else {
            println!("skipped: this machine does not let us mount a tmpfs");
            return;
        };
        let origin = press();
        let text = config::site(
            &origin.url(),
            &format!("{POLICY}[ledger]\nsegment = \"256KiB\"\nprobe_interval = \"1s\"\n"),
        );
        let byline = configured(text).policy(SHOP).state(disk.path.join("state")).start();
        let sell = |n: usize| {
            let mut client = Client::connect_from(Ipv4Addr::from(RICH), byline.listen);
            client.ask(get(&format!("/every/{n}"), RICH_AGENT))
        };
        assert_eq!(sell(2).status, 200);
        let filler = disk.path.join("filler");
        // Fills what is left; the write ends when the disk is full.
        let _ = std::fs::write(&filler, vec![1; 8 << 20]);

        let (mut sold, mut refused) = (0, None);
        for n in 0..5_000 {
            // Tokens that end in 2 are small works.
            let answer = sell(n * 10 + 2);
            if answer.status != 200 {
                refused = Some(answer);
                break;
            }
            sold += 1;
        }
        let refused = refused.expect("a full disk ends the sale");
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert!(refused.fields.has("retry-after"), "{:?}", refused.fields);
        let person = byline.ask(get("/every/2", "User-Agent: Mozilla/5.0\r\n"));
        assert_eq!((person.status, person.text().as_str()), (200, "small"), "people's traffic goes on");
        let mut client = Client::connect_from(Ipv4Addr::from(RICH), byline.listen);
        assert_eq!(client.ask(get("/free/2", RICH_AGENT)).status, 200, "what is free goes on");

        std::fs::remove_file(&filler).expect("our own file");
        wait::until_true("metering resumes by itself", PATIENCE, || sell(7_002).status == 200);
        let complete = tokens(&byline);
        assert!(complete.len() > sold, "{} records for {sold} works", complete.len());
        let gaps: Vec<_> = byline.entries().into_iter().filter(|e| e["type"] == "ai.usage.gap.v1").collect();
        assert!(!gaps.is_empty(), "no gap entry says what passed uncounted");
        assert!(gaps.iter().any(|gap| gap["data"]["fetches"].as_u64().is_some_and(|n| n >= 1)), "{gaps:?}");
        let said = byline.verify();
        assert_eq!(said.code, 0, "{said:?}");
    }
}
