//! BEGIN, COMMIT, ROLLBACK, COMMITALL, TRANSACTIONS, REVISION.

use std::time::Duration;

use kv_core::{BeginOptions, Isolation, Parent, Revision, Step, TxnId};
use kv_protocol::{ListKind, Reply, Row, TransactionState};

use super::listing::millis;
use super::{Client, Next};

impl Client {
    pub(super) fn begin(
        &mut self,
        out: &mut Vec<u8>,
        parent: kv_protocol::Parent,
        isolation: Option<kv_protocol::Isolation>,
        at: Option<u64>,
        wait: Option<Duration>,
    ) -> Step<Next> {
        self.check_room(1)?;
        let txn = self.session.begin(BeginOptions {
            parent: match parent {
                kv_protocol::Parent::None => Parent::None,
                kv_protocol::Parent::Id(txn) => Parent::Txn(TxnId(txn)),
                kv_protocol::Parent::Current => Parent::Current,
            },
            isolation: isolation.map(|isolation| match isolation {
                kv_protocol::Isolation::Serializable => Isolation::Serializable,
                kv_protocol::Isolation::Snapshot => Isolation::Snapshot,
                kv_protocol::Isolation::ReadOnly => Isolation::Readonly,
            }),
            at: at.map(Revision),
            lock_wait_max: wait,
        })?;
        self.note_begun(txn);
        self.reply(out, &Reply::Began(txn.0))
    }

    pub(super) fn commit(&mut self, out: &mut Vec<u8>, txn: Option<u64>) -> Step<Next> {
        self.session.commit(txn.map(TxnId))?;
        self.reply(out, &Reply::Done)
    }

    pub(super) fn rollback(&mut self, out: &mut Vec<u8>, txn: Option<u64>) -> Step<Next> {
        self.session.rollback(txn.map(TxnId))?;
        self.reply(out, &Reply::Done)
    }

    pub(super) fn commit_all(&mut self, out: &mut Vec<u8>) -> Step<Next> {
        let committed = self.session.commit_all()?;
        self.reply(out, &Reply::Committed(committed))
    }

    pub(super) fn transactions(&mut self, out: &mut Vec<u8>) -> Step<Next> {
        let transactions = self.open_transactions();
        let rows = transactions.iter().map(|info| Row::Transaction {
            id: info.txn.0,
            parent: info.parent.map(|parent| parent.0),
            isolation: match info.isolation {
                Isolation::Serializable => kv_protocol::Isolation::Serializable,
                Isolation::Snapshot => kv_protocol::Isolation::Snapshot,
                Isolation::Readonly => kv_protocol::Isolation::ReadOnly,
            },
            state: if info.is_aborted { TransactionState::Aborted } else { TransactionState::Open },
            age_ms: millis(info.age),
            writes: info.writes as u64,
        });
        self.list(out, ListKind::Transactions, rows)
    }

    pub(super) fn revision(&mut self, out: &mut Vec<u8>) -> Step<Next> {
        let revision = self.session.last_commit().0;
        self.reply(out, &Reply::Number(i64::try_from(revision).unwrap_or(i64::MAX)))
    }
}
