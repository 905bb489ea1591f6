BEGIN TRANSACTION;
CREATE TABLE admin_log (
        seq INTEGER PRIMARY KEY,
        hash TEXT NOT NULL,
        at INTEGER NOT NULL,
        line BLOB NOT NULL
    ) STRICT;
CREATE TABLE anchors (
        writer TEXT PRIMARY KEY,
        seq INTEGER NOT NULL,
        head TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
CREATE TABLE changes (
        seq INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        key TEXT NOT NULL
    ) STRICT;
INSERT INTO "changes" VALUES(1,'realm','');
INSERT INTO "changes" VALUES(2,'principal','16 billing');
INSERT INTO "changes" VALUES(3,'login-key','db8317acc4aca646');
INSERT INTO "changes" VALUES(4,'principal','17 orders');
INSERT INTO "changes" VALUES(5,'login-key','f362c8d7bdad1a62');
INSERT INTO "changes" VALUES(6,'principal','18 approvals');
INSERT INTO "changes" VALUES(7,'login-key','ed9d2f6fd2558991');
INSERT INTO "changes" VALUES(8,'group','edge');
INSERT INTO "changes" VALUES(9,'rule','1');
INSERT INTO "changes" VALUES(10,'rule','2');
INSERT INTO "changes" VALUES(11,'rule','3');
INSERT INTO "changes" VALUES(12,'rule','4');
INSERT INTO "changes" VALUES(13,'rule','4');
CREATE TABLE groups (
        group_id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE
    ) STRICT;
INSERT INTO "groups" VALUES(1,'edge');
CREATE TABLE jwt_keys (
        id INTEGER PRIMARY KEY,
        uid INTEGER NOT NULL REFERENCES principals ON DELETE CASCADE,
        kid TEXT NOT NULL,
        alg TEXT NOT NULL,
        created INTEGER NOT NULL,
        sealed BLOB NOT NULL,
        UNIQUE (uid, kid)
    ) STRICT;
CREATE TABLE keys (
        uid INTEGER NOT NULL REFERENCES principals ON DELETE CASCADE,
        kvno INTEGER NOT NULL,
        kid_as BLOB NOT NULL UNIQUE,
        kid_ticket BLOB NOT NULL UNIQUE,
        kid_sync BLOB NOT NULL UNIQUE,
        state TEXT NOT NULL,
        created INTEGER NOT NULL,
        retired INTEGER,
        sealed BLOB NOT NULL,
        sealed_as BLOB NOT NULL,
        PRIMARY KEY (uid, kvno)
    ) STRICT;
CREATE TABLE members (
        group_id INTEGER NOT NULL REFERENCES groups ON DELETE CASCADE,
        uid INTEGER NOT NULL REFERENCES principals ON DELETE CASCADE,
        PRIMARY KEY (group_id, uid)
    ) STRICT, WITHOUT ROWID;
CREATE TABLE meta (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        seq INTEGER NOT NULL
    , change_seq INTEGER NOT NULL DEFAULT 0) STRICT;
INSERT INTO "meta" VALUES(1,1796136064120,13);
CREATE TABLE oauth_secrets (
        id INTEGER PRIMARY KEY,
        uid INTEGER NOT NULL REFERENCES principals ON DELETE CASCADE,
        secret_id TEXT NOT NULL,
        created INTEGER NOT NULL,
        sealed BLOB NOT NULL,
        UNIQUE (uid, secret_id)
    ) STRICT;
CREATE TABLE principals (
        uid INTEGER PRIMARY KEY AUTOINCREMENT CHECK (uid >= 16),
        name TEXT NOT NULL UNIQUE,
        created INTEGER NOT NULL,
        disabled INTEGER NOT NULL DEFAULT 0,
        max_ticket_s INTEGER,
        max_jwt_s INTEGER,
        jwt_alg TEXT,
        jwt_audience TEXT
    , sources TEXT NOT NULL DEFAULT '', oauth INTEGER NOT NULL DEFAULT 0, token_claims TEXT NOT NULL DEFAULT '', default_audience TEXT) STRICT;
INSERT INTO "principals" VALUES(16,'billing',1000000000,0,NULL,NULL,NULL,NULL,'',0,'',NULL);
INSERT INTO "principals" VALUES(17,'orders',1000000000,0,NULL,NULL,NULL,NULL,'',0,'',NULL);
INSERT INTO "principals" VALUES(18,'approvals',1000000000,0,NULL,NULL,NULL,NULL,'',0,'',NULL);
CREATE TABLE realm (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        realm TEXT NOT NULL,
        issuer TEXT NOT NULL,
        max_ticket_s INTEGER NOT NULL,
        max_tgt_s INTEGER NOT NULL,
        max_jwt_s INTEGER NOT NULL,
        created INTEGER NOT NULL,
        key_check BLOB NOT NULL
    , not_before INTEGER NOT NULL DEFAULT 0) STRICT;
INSERT INTO "realm" VALUES(1,'corp.example','https://corp.example',3600,3600,300,1000000000,X'86AF79211A75F35E31BA9E4CAFB23D7B07A9BC89B64EB9F9A967BD5693B12ADF',0);
CREATE TABLE realm_keys (
        role TEXT NOT NULL,
        name TEXT NOT NULL,
        number INTEGER NOT NULL,
        created INTEGER NOT NULL,
        sealed BLOB NOT NULL,
        PRIMARY KEY (role, name, number)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "realm_keys" VALUES('kdcmac','kdc',1,1000000000,X'0000000147C09FC05FFA6462B1C0500A385635E34390872CDF11427E78014F16CE345A488E0EA410B3A8626D20FCDE5558B7E34CAF71B3F3CDA8D713382D606D5596F6481AE3D3E529B10F20A927723786223142DF1F9504B14111D9B70F4FD3722A8BC9F47EA1D0F691034E');
INSERT INTO "realm_keys" VALUES('tgt','kdc/tgt',1,1000000000,X'0000000140244F78CA69890A8830BDC7B31073AA79313019B4C0BC36C26D53B03E37DD9152A3C069ECDC8EF8C5E5089FEF418EEBB724B9BDB167B5A4C2F36487E7FC593A207D2414700A8EF0225E26C4C911DA43F3496A454DC67A8BC2A2ECB37128A4C9BF92CCCC5DD8B56F');
INSERT INTO "realm_keys" VALUES('ticket','kdc/admin',1,1000000000,X'00000001E3DFBD5B33E9AFD39C17FEF2415AEA420D444BC4B77E2FBFEDD6AE971086162E81F2D14893A80B04116E5C61D6337946A8C23B41D247F20FB2E26B1743788DF23C56FD1A365514F5BD7285A6123A769C9A7544576E1FBE0808D405BD48CEE1C2DFD99A3ED79AAD56');
INSERT INTO "realm_keys" VALUES('ticket','kdc/keys',1,1000000000,X'000000016CB48875C8EEB4717239CAD788B0EF50D74F33F0372D80AD2D0AC847417CEDC695162AA1CA1E047821717ACB95CA80CB783C55DA86B8093E4185F9007E0FBB17C11C6CD4CCF831F84EDC62CE53C3260D94697A2900BBB1F9C1D796391DC7974CF6634C39CB9D914A');
CREATE TABLE remembered (
        kind TEXT NOT NULL,
        digest BLOB NOT NULL,
        uid INTEGER NOT NULL,
        until INTEGER NOT NULL,
        PRIMARY KEY (kind, digest)
    ) STRICT, WITHOUT ROWID;
CREATE TABLE rules (
        rule_id INTEGER PRIMARY KEY AUTOINCREMENT,
        client_uid INTEGER REFERENCES principals ON DELETE CASCADE,
        client_group INTEGER REFERENCES groups ON DELETE CASCADE,
        target_uid INTEGER REFERENCES principals ON DELETE CASCADE,
        target_group INTEGER REFERENCES groups ON DELETE CASCADE,
        scopes TEXT NOT NULL,
        max_ttl_s INTEGER,
        jwt INTEGER NOT NULL,
        delegable INTEGER NOT NULL, subjects TEXT NOT NULL DEFAULT '', behalf TEXT NOT NULL DEFAULT '', sources TEXT NOT NULL DEFAULT '', deny_via TEXT NOT NULL DEFAULT '', require_via TEXT NOT NULL DEFAULT '', max_depth INTEGER NOT NULL DEFAULT 8, callbacks INTEGER NOT NULL DEFAULT 0, methods TEXT NOT NULL DEFAULT '', path TEXT, peers TEXT NOT NULL DEFAULT '', discharges TEXT NOT NULL DEFAULT '',
        CHECK ((client_uid IS NULL) <> (client_group IS NULL)),
        CHECK ((target_uid IS NULL) <> (target_group IS NULL))
    ) STRICT;
INSERT INTO "rules" VALUES(1,16,NULL,17,NULL,'',NULL,0,0,'','','','','',8,0,'',NULL,'','');
INSERT INTO "rules" VALUES(2,NULL,1,17,NULL,'read write',600,1,1,'ada users/*','','10.0.0.0/8 2001:db8::/32','','',8,0,'',NULL,'','');
INSERT INTO "rules" VALUES(3,17,NULL,16,NULL,'read',NULL,0,0,'','*','','group:edge web@other.example','billing',0,1,'GET HEAD','/a','192.0.2.7/32','approvals=four-eyes approvals=seen');
CREATE INDEX keys_retired ON keys (retired) WHERE retired IS NOT NULL;
CREATE INDEX members_uid ON members (uid);
CREATE INDEX rules_pair ON rules (client_uid, client_group, target_uid, target_group);
CREATE INDEX rules_client_group ON rules (client_group) WHERE client_group IS NOT NULL;
CREATE INDEX rules_target_uid ON rules (target_uid) WHERE target_uid IS NOT NULL;
CREATE INDEX rules_target_group ON rules (target_group) WHERE target_group IS NOT NULL;
CREATE INDEX remembered_until ON remembered (until);
CREATE INDEX remembered_uid ON remembered (kind, uid, until);
CREATE INDEX jwt_keys_kid ON jwt_keys (kid);
CREATE INDEX principals_audience ON principals (jwt_audience) WHERE jwt_audience IS NOT NULL;
CREATE TRIGGER admin_log_kept BEFORE DELETE ON admin_log
        BEGIN SELECT RAISE(ABORT, 'the record of administration is only added to'); END;
CREATE TRIGGER admin_log_unchanged BEFORE UPDATE ON admin_log
        BEGIN SELECT RAISE(ABORT, 'the record of administration is only added to'); END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('principals',18);
INSERT INTO "sqlite_sequence" VALUES('groups',1);
INSERT INTO "sqlite_sequence" VALUES('rules',4);
COMMIT;