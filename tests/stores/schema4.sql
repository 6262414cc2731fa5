-- A file of schema 4, as `iterdump` printed it while the store was open: its journal isn't folded.
PRAGMA application_id = 1397838407;
PRAGMA user_version = 4;
BEGIN TRANSACTION;
CREATE TABLE epochs (
            gathering INTEGER NOT NULL REFERENCES gatherings (key),
            first_seq INTEGER NOT NULL,
            epoch TEXT NOT NULL,
            PRIMARY KEY (gathering, first_seq)
        ) STRICT, WITHOUT ROWID;
INSERT INTO "epochs" VALUES(1,2,'one');
INSERT INTO "epochs" VALUES(2,1,'one');
CREATE TABLE gatherings (
            key INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            head INTEGER NOT NULL
        ) STRICT;
INSERT INTO "gatherings" VALUES(1,'friday',3);
INSERT INTO "gatherings" VALUES(2,'sunday',1);
CREATE TABLE journal (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            entry BLOB NOT NULL
        ) STRICT;
INSERT INTO "journal" VALUES(4,X'9196A6667269646179049292C0C4077B226E223A347D92C0C4077B226E223A357D9195AA353A3A616C6963656331A574686972640402C4107A0744869E119677B13E30B6405E366FC0919204A374776F');
INSERT INTO "journal" VALUES(5,X'9196A66D6F6E646179019192C0C4077B226E223A317D9195AA353A3A616C6963656331A46F6E6C790101C410984530E49ACF879EA2A3B7C3062FCA659201C4087B226174223A317D919201A374776F');
CREATE TABLE ops (
            gathering INTEGER NOT NULL REFERENCES gatherings (key),
            seq INTEGER NOT NULL,
            by TEXT,
            op BLOB NOT NULL,
            PRIMARY KEY (gathering, seq)
        ) STRICT, WITHOUT ROWID;
INSERT INTO "ops" VALUES(1,1,'alice',X'7B226E223A317D');
INSERT INTO "ops" VALUES(1,2,'alice',X'7B226E223A327D');
INSERT INTO "ops" VALUES(1,3,'bob',X'7B226E223A337D');
INSERT INTO "ops" VALUES(2,1,NULL,X'7B226E223A317D');
CREATE TABLE refused (
            number INTEGER PRIMARY KEY,
            entry BLOB NOT NULL,
            reason TEXT NOT NULL
        ) STRICT;
CREATE TABLE snapshots (
            gathering INTEGER PRIMARY KEY REFERENCES gatherings (key),
            seq INTEGER NOT NULL,
            state BLOB NOT NULL
        ) STRICT;
INSERT INTO "snapshots" VALUES(1,3,X'7B226174223A337D');
CREATE TABLE "syncs" (
            gathering INTEGER NOT NULL REFERENCES gatherings (key),
            scope TEXT NOT NULL,
            id TEXT NOT NULL,
            first_seq INTEGER NOT NULL,
            count INTEGER NOT NULL,
            fingerprint BLOB NOT NULL,
            PRIMARY KEY (gathering, scope, id)
        ) STRICT, WITHOUT ROWID;
INSERT INTO "syncs" VALUES(1,'5::alicec1','first',1,2,X'58503A7F9193541F3E54D00579D92219');
INSERT INTO "syncs" VALUES(1,'5::alicec1','second',3,1,X'8472264EFFADED8F1BCA1DBD2B057F0D');
INSERT INTO "syncs" VALUES(2,'5::alicec1','only',1,1,X'984530E49ACF879EA2A3B7C3062FCA65');
CREATE INDEX newest_syncs ON syncs (gathering, first_seq);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('journal',5);
COMMIT;
