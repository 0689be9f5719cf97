//! Drives apalis-sqlite for the bench: one command a line in, one JSON answer a line out, in the
//! words of `tests/bench/src/contestant.rs`.
//!
//! Each task is pushed in a commit of its own and taken by the statements of the peer's own worker:
//! one commit claims it, one more marks it as running and as done. The peer turns `synchronous`
//! off while it sets up; every connection is set to FULL after that, and asked before the first
//! command whether it is.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use apalis_core::backend::TaskResult;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::status::Status;
use apalis_core::worker::context::WorkerContext;
use apalis_sqlite::queries::{ack_tasks, fetch_next, lock_tasks, push_tasks, register_worker};
use apalis_sqlite::{Config, SqlitePool, SqliteStorage};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

const RECORD_BYTES: usize = 1024;
const QUEUE: &str = "bench";

struct Peer {
    pool: SqlitePool,
    config: Config,
    worker: WorkerContext,
    records: Vec<u8>,
    following: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let (mut directory, mut records, mut is_relaxed) = (None, None, false);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--dir" => directory = words.next().map(PathBuf::from),
            "--records" => records = words.next().map(PathBuf::from),
            "--relaxed" => is_relaxed = true,
            _ => bail!("unknown argument {word:?}"),
        }
    }
    let directory = directory.context("--dir is missing")?;
    let records = std::fs::read(records.context("--records is missing")?)?;
    std::fs::create_dir_all(&directory)?;
    let pool = pool(&directory.join("jobs.db"), is_relaxed).await?;
    // A name of its own each time: a worker of the same name is refused for half a minute.
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut peer = Peer {
        config: Config::default().queue(QUEUE).batch_size(1),
        worker: WorkerContext::new(&format!("bench-{}", since.as_nanos())),
        pool,
        records,
        following: 0,
    };
    register_worker(&peer.pool, &peer.config, &peer.worker, "SqliteStorage").await?;
    answer(&peer.ready().await?)?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (word, count) = line.split_once(' ').unwrap_or((line.as_str(), "0"));
        let count: usize = count.parse()?;
        let mut nanoseconds = Vec::new();
        match word {
            "put" => {
                for _ in 0..count {
                    let begin = Instant::now();
                    peer.put().await?;
                    nanoseconds.push(begin.elapsed().as_nanos() as u64);
                }
            }
            "take" => {
                for _ in 0..count {
                    let begin = Instant::now();
                    let length = peer.take().await?;
                    nanoseconds.push(begin.elapsed().as_nanos() as u64);
                    ensure!(length == RECORD_BYTES, "another record than was put");
                }
            }
            "fill" => {
                for _ in 0..count {
                    peer.put().await?;
                }
            }
            "quit" => break,
            _ => bail!("unknown command {word:?}"),
        }
        answer(&json!({ "nanoseconds": nanoseconds }))?;
    }
    peer.pool.close().await;
    Ok(())
}

/// One connection, set up by the peer itself and then set to FULL, which `setup` had turned off.
async fn pool(path: &std::path::Path, is_relaxed: bool) -> anyhow::Result<SqlitePool> {
    let setting_up = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(
            SqliteConnectOptions::new()
                .filename(path)
                .create_if_missing(true),
        )
        .await?;
    SqliteStorage::setup(&setting_up).await?;
    setting_up.close().await;
    let synchronous = if is_relaxed { "OFF" } else { "FULL" };
    // What `setup` chooses for its one connection, but for `synchronous`.
    let options = SqliteConnectOptions::new()
        .filename(path)
        .pragma("journal_mode", "WAL")
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", "64000")
        .pragma("journal_size_limit", "67108864")
        .pragma("synchronous", synchronous);
    let pool = SqlitePoolOptions::new()
        .min_connections(1)
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options)
        .await?;
    Ok(pool)
}

impl Peer {
    async fn ready(&self) -> anyhow::Result<Value> {
        let (journal_mode,): (String,) = sqlx::query_as("PRAGMA journal_mode")
            .fetch_one(&self.pool)
            .await?;
        let (synchronous,): (i64,) = sqlx::query_as("PRAGMA synchronous")
            .fetch_one(&self.pool)
            .await?;
        let (engine,): (String,) = sqlx::query_as("SELECT sqlite_version()")
            .fetch_one(&self.pool)
            .await?;
        Ok(json!({
            "version": "1.0.0",
            "engine": format!("SQLite {engine}, sqlx 0.9"),
            "journal_mode": journal_mode,
            "synchronous": synchronous,
        }))
    }

    /// Pushes one task in a commit of its own, as the peer's storage does when it is flushed.
    async fn put(&mut self) -> anyhow::Result<()> {
        let start = self.following * RECORD_BYTES % self.records.len();
        self.following += 1;
        let record = std::str::from_utf8(&self.records[start..start + RECORD_BYTES])?;
        let task = TaskBuilder::new(serde_json::to_vec(record)?).build();
        let mut commit = self.pool.begin().await?;
        push_tasks(&mut *commit, QUEUE, &[task]).await?;
        commit.commit().await?;
        Ok(())
    }

    /// Takes one task by the statements of the peer's worker; its length is returned.
    async fn take(&mut self) -> anyhow::Result<usize> {
        let mut commit = self.pool.begin().await?;
        let tasks = fetch_next(&mut *commit, &self.config, &self.worker).await?;
        commit.commit().await?;
        let task = tasks.first().context("the queue is empty")?;
        let id = task.task_id().context("a task without an id")?.clone();
        let record: String = serde_json::from_slice(&task.args)?;
        let result = TaskResult {
            task_id: id.clone(),
            attempt: task.attempt() + 1,
            status: Status::Done,
            result: Ok(Value::Null),
        };
        let mut commit = self.pool.begin().await?;
        lock_tasks(&mut *commit, &[id.to_string()], self.worker.name()).await?;
        let acknowledged = ack_tasks(&mut *commit, &[&result], self.worker.name()).await?;
        commit.commit().await?;
        ensure!(acknowledged == 1, "a task was not acknowledged");
        Ok(record.len())
    }
}

fn answer(value: &Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()?;
    Ok(())
}
