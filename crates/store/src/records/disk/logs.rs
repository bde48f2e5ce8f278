//! Logs in the same file as the records.

use std::time::Duration;

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use uuid::Uuid;

use super::{DiskRecords, Outcome, Task, unix_seconds};
use crate::records::logs::{Behind, Logs};
use crate::records::{Answer, Unavailable};

/// Id to length, the second after which it may be forgotten, and whether it is open.
const HEADS: TableDefinition<'_, u128, (u64, u64, bool)> = TableDefinition::new("logs");
/// Id and position to text.
const TEXTS: TableDefinition<'_, (u128, u64), &[u8]> = TableDefinition::new("log texts");

/// A text for a log.
pub(super) struct Addition {
    id: Uuid,
    position: u64,
    text: Bytes,
    behind: Behind,
    until: u64,
}

/// So that reading finds tables from the beginning.
pub(super) fn prepare(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(HEADS)?;
    transaction.open_table(TEXTS)?;
    Ok(())
}

pub(super) fn add(transaction: &WriteTransaction, addition: &Addition) -> Result<bool, redb::Error> {
    let Addition { id, position, text, behind, until } = addition;
    let (mut heads, mut texts) = (transaction.open_table(HEADS)?, transaction.open_table(TEXTS)?);
    let there = heads.get(id.as_u128())?.map(|head| head.value());
    let is_forgotten = there.is_some_and(|(_, until, _)| until <= unix_seconds());
    if is_forgotten {
        texts.retain_in((id.as_u128(), 0)..=(id.as_u128(), u64::MAX), |_, _| false)?;
    }
    if there.filter(|_| !is_forgotten).map_or(0, |(length, ..)| length) != *position {
        return Ok(false);
    }
    heads.insert(id.as_u128(), (position + 1, *until, *behind == Behind::More))?;
    texts.insert((id.as_u128(), *position), &text[..])?;
    Ok(true)
}

/// Forgets what is too old.
pub(super) fn sweep(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let (mut heads, mut texts) = (transaction.open_table(HEADS)?, transaction.open_table(TEXTS)?);
    let now = unix_seconds();
    let forgotten = heads.extract_if(|_, (_, until, _)| until <= now)?;
    let forgotten: Vec<u128> =
        forgotten.map(|head| head.map(|(id, _)| id.value())).collect::<Result<_, _>>()?;
    for id in forgotten {
        texts.retain_in((id, 0)..=(id, u64::MAX), |_, _| false)?;
    }
    Ok(())
}

fn read(database: &Database, id: Uuid) -> Result<Vec<Bytes>, redb::Error> {
    let transaction = database.begin_read()?;
    let head = transaction.open_table(HEADS)?.get(id.as_u128())?.map(|head| head.value());
    if head.is_none_or(|(_, until, _)| until <= unix_seconds()) {
        return Ok(Vec::new());
    }
    let texts = transaction.open_table(TEXTS)?;
    let all = texts.range((id.as_u128(), 0)..=(id.as_u128(), u64::MAX))?;
    all.map(|text| Ok(Bytes::copy_from_slice(text?.1.value()))).collect()
}

fn which(database: &Database, open_only: bool) -> Result<Vec<Uuid>, redb::Error> {
    let (heads, now) = (database.begin_read()?.open_table(HEADS)?, unix_seconds());
    let mut ids = Vec::new();
    for head in heads.iter()? {
        let (id, head) = head?;
        let (_, until, is_open) = head.value();
        if until > now && (is_open || !open_only) {
            ids.push(Uuid::from_u128(id.value()));
        }
    }
    Ok(ids)
}

fn answer<'a, T: Send + 'a>(answer: Result<T, redb::Error>) -> Answer<'a, T> {
    Box::pin(std::future::ready(answer.map_err(|error| Unavailable(error.to_string()))))
}

impl Logs for DiskRecords {
    fn append(
        &self,
        id: Uuid,
        position: u64,
        text: Bytes,
        behind: Behind,
        keep: Duration,
    ) -> Answer<'_, bool> {
        let until = unix_seconds().saturating_add(keep.as_secs());
        Box::pin(async move {
            let addition = Addition { id, position, text, behind, until };
            Ok(matches!(self.change(Task::Append(addition)).await?, Outcome::Written(true)))
        })
    }

    fn read(&self, id: Uuid) -> Answer<'_, Vec<Bytes>> {
        answer(read(&self.database, id))
    }

    fn open(&self) -> Answer<'_, Vec<Uuid>> {
        answer(which(&self.database, true))
    }

    fn all(&self) -> Answer<'_, Vec<Uuid>> {
        answer(which(&self.database, false))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::logs::contract;
    use super::*;

    #[tokio::test]
    async fn keeps_the_contract_and_what_was_kept_is_there_for_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.redb");
        let logs = DiskRecords::open(&path).unwrap();
        contract::a_log_grows_by_who_knows_its_length(&logs).await;
        contract::what_may_be_forgotten_is(&logs).await;
        contract::one_of_many_writers_is_first(&logs).await;
        let mut all = logs.all().await.unwrap();
        drop(logs);
        // The writing thread lets go of the file when it has seen that.
        let logs = loop {
            match DiskRecords::open(&path) {
                Ok(logs) => break logs,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let mut again = logs.all().await.unwrap();
        all.sort_unstable();
        again.sort_unstable();
        assert!(all == again && all.len() == 4, "{all:?} {again:?}");
    }
}
