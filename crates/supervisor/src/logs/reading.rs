//! Lines of a log, read back: of the file that is written, and of those that were put aside.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::read::MultiGzDecoder;

use super::rotation::put_aside_of;
use crate::api::LogLine;

/// What is read at a time of a file's end. No line is that long.
const BLOCK: u64 = 1024 * 1024;
/// Begins a compressed file (RFC 1952 §2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A log of a site with all that was put aside of it.
#[derive(Debug)]
pub(super) struct WholeLog {
    pub(super) folder: PathBuf,
    pub(super) name: &'static str,
    /// Files whose last line is older are left out.
    pub(super) since_ms: Option<i64>,
}

impl WholeLog {
    /// The last lines that `parse` takes, the oldest first.
    pub(super) fn last_lines(
        &self,
        wanted: usize,
        parse: impl Fn(&str) -> Option<LogLine>,
    ) -> io::Result<Vec<LogLine>> {
        let mut found = Vec::new();
        for file in self.newest_first()? {
            let missing = wanted - found.len();
            if missing == 0 {
                break;
            }
            found.append(&mut last_of(file, missing, &parse)?);
        }
        found.reverse();
        Ok(found)
    }

    /// Every line, in no order.
    pub(super) fn each_line(&self, mut visit: impl FnMut(&str)) -> io::Result<()> {
        for file in self.newest_first()? {
            each_line(lines_of(file)?, &mut visit);
        }
        Ok(())
    }

    fn newest_first(&self) -> io::Result<Vec<File>> {
        let since = self.since_ms.and_then(|ms| u64::try_from(ms).ok());
        let since = since.map(|ms| UNIX_EPOCH + Duration::from_millis(ms));
        let is_recent = |at: SystemTime| since.is_none_or(|since| at >= since);
        let aside = match put_aside_of(&self.folder, self.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            aside => aside?,
        };
        let aside = aside.into_iter().rev().filter(|file| is_recent(file.modified));
        let paths = std::iter::once(self.folder.join(self.name)).chain(aside.map(|file| file.path));
        let mut files = Vec::new();
        for path in paths {
            match File::open(path) {
                // Put aside, compressed or removed at this moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                file => files.push(file?),
            }
        }
        Ok(files)
    }
}

/// The last lines of a file, the newest first.
fn last_of(
    mut file: File,
    wanted: usize,
    parse: impl Fn(&str) -> Option<LogLine>,
) -> io::Result<Vec<LogLine>> {
    if is_compressed(&mut file)? {
        let mut found = VecDeque::new();
        each_line(lines_of(file)?, |text| {
            if let Some(line) = parse(text) {
                found.push_front(line);
                found.truncate(wanted);
            }
        });
        return Ok(found.into());
    }
    let mut found = Vec::new();
    let mut end = file.seek(SeekFrom::End(0))?;
    // The end of a line whose beginning is in the block before.
    let mut behind = Vec::new();
    while end > 0 && found.len() < wanted {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::new();
        (&mut file).take(end - start).read_to_end(&mut block)?;
        block.append(&mut behind);
        let first = match start {
            0 => 0,
            _ => memchr::memchr(b'\n', &block).map_or(block.len(), |at| at + 1),
        };
        let (beginning, whole) = block.split_at(first);
        let lines = whole.rsplit(|byte| *byte == b'\n').map(String::from_utf8_lossy);
        found.extend(lines.filter_map(|text| parse(&text)).take(wanted - found.len()));
        behind = beginning.to_vec();
        end = start;
    }
    Ok(found)
}

fn is_compressed(file: &mut File) -> io::Result<bool> {
    let mut magic = [0; 2];
    let is_compressed = match file.read_exact(&mut magic) {
        Ok(()) => magic == GZIP,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
        Err(error) => return Err(error),
    };
    file.seek(SeekFrom::Start(0))?;
    Ok(is_compressed)
}

fn lines_of(mut file: File) -> io::Result<Box<dyn BufRead>> {
    Ok(match is_compressed(&mut file)? {
        true => Box::new(BufReader::new(MultiGzDecoder::new(file))),
        false => Box::new(BufReader::new(file)),
    })
}

/// Calls `visit` with each line; where a compressed file is damaged its lines end there.
fn each_line(mut lines: impl BufRead, mut visit: impl FnMut(&str)) {
    let mut line = Vec::new();
    while let Ok(1..) = (&mut lines).take(BLOCK).read_until(b'\n', &mut line) {
        visit(String::from_utf8_lossy(&line).trim_end_matches('\n'));
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::Path;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn parse(text: &str) -> Option<LogLine> {
        let (at_ms, text) = text.split_once(' ')?;
        Some(LogLine { at_ms: at_ms.parse().ok()?, source: "app".into(), text: text.into() })
    }

    fn write(folder: &Path, name: &str, numbers: std::ops::Range<i64>, filler: &str) {
        let text: String = numbers.clone().map(|number| format!("{number} {filler}\n")).collect();
        let path = folder.join(name);
        if name.ends_with(".gz") {
            let mut encoder = GzEncoder::new(File::create(&path).unwrap(), Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap();
        } else {
            fs::write(&path, text).unwrap();
        }
        let at = UNIX_EPOCH + Duration::from_millis(numbers.end.unsigned_abs());
        File::options().append(true).open(path).unwrap().set_modified(at).unwrap();
    }

    fn whole(folder: &Path, since_ms: Option<i64>) -> WholeLog {
        WholeLog { folder: folder.to_owned(), name: "a.log", since_ms }
    }

    fn times(lines: &[LogLine]) -> Vec<i64> {
        lines.iter().map(|line| line.at_ms).collect()
    }

    #[test]
    fn lines_come_from_all_files_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a.log.2.gz", 0..10, "x");
        write(folder.path(), "a.log-1.gz", 10..20, "x");
        write(folder.path(), "a.log.1", 20..30, "x");
        write(folder.path(), "a.log", 30..35, "x");
        fs::write(folder.path().join("a.log-1.gz.part"), "99 x\n").unwrap();
        let log = whole(folder.path(), None);
        let last = |wanted| times(&log.last_lines(wanted, parse).unwrap());
        assert_eq!(last(3), [32, 33, 34]);
        assert_eq!(last(7), (28..35).collect::<Vec<_>>());
        assert_eq!(last(100), (0..35).collect::<Vec<_>>());
        assert_eq!(last(27), (8..35).collect::<Vec<_>>());
        let recent = whole(folder.path(), Some(25));
        assert_eq!(times(&recent.last_lines(100, parse).unwrap()), (20..35).collect::<Vec<_>>());
        let mut count = 0;
        log.each_line(|_| count += 1).unwrap();
        assert_eq!(count, 35);
        let even = |text: &str| parse(text).filter(|line| line.at_ms % 10 == 0);
        assert_eq!(times(&log.last_lines(3, even).unwrap()), [10, 20, 30]);
    }

    #[test]
    fn a_line_may_lie_over_two_blocks_and_one_without_end_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let filler = "y".repeat(700 * 1024);
        write(folder.path(), "a.log", 0..7, &filler);
        let path = folder.path().join("a.log");
        File::options().append(true).open(path).unwrap().write_all(b"7 end").unwrap();
        let log = whole(folder.path(), None);
        let lines = log.last_lines(100, parse).unwrap();
        assert_eq!(times(&lines), (0..8).collect::<Vec<_>>());
        assert!(lines.iter().take(7).all(|line| line.text == filler));
    }

    #[test]
    fn what_is_missing_or_damaged_ends_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let log = whole(&folder.path().join("none"), None);
        assert!(log.last_lines(5, parse).unwrap().is_empty());
        let log = whole(folder.path(), None);
        assert!(log.last_lines(5, parse).unwrap().is_empty());
        write(folder.path(), "a.log-1.gz", 0..10_000, "x");
        let path = folder.path().join("a.log-1.gz");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        write(folder.path(), "a.log", 20_000..20_002, "x");
        let lines = log.last_lines(5, parse).unwrap();
        assert_eq!(lines.len(), 5);
        assert_eq!(times(&lines)[3..], [20_000, 20_001]);
    }
}
