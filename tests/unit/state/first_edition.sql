BEGIN TRANSACTION;
CREATE TABLE reconcile_batches (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	segment_key BIGINT NOT NULL, 
	run_id TEXT NOT NULL, 
	direction TEXT NOT NULL, 
	outcome TEXT, 
	attempts INTEGER NOT NULL, 
	created_at DOUBLE NOT NULL, 
	at DOUBLE NOT NULL, 
	unknown_at DOUBLE, 
	number INTEGER NOT NULL, 
	ids TEXT NOT NULL
);
INSERT INTO "reconcile_batches" VALUES(5,1,'run-1','remove','acknowledged',1,1795000120.0,1795000120.0,NULL,1,'y');
INSERT INTO "reconcile_batches" VALUES(6,1,'run-1','add',NULL,1,1795000120.0,1795000120.0,NULL,2,'c
d');
CREATE TABLE reconcile_keys (
	segment_key INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	workspace TEXT NOT NULL, 
	segment_id BIGINT NOT NULL
);
INSERT INTO "reconcile_keys" VALUES(1,'production',56);
CREATE TABLE reconcile_locks (
	workspace TEXT NOT NULL, 
	segment_id BIGINT NOT NULL, 
	fence BIGINT NOT NULL, 
	host TEXT, 
	boot_id TEXT, 
	pid_namespace TEXT, 
	pid BIGINT, 
	started TEXT, 
	run_id TEXT, 
	command TEXT, 
	acquired_at DOUBLE, 
	heartbeat_at DOUBLE, 
	expires_at DOUBLE, 
	PRIMARY KEY (workspace, segment_id)
);
INSERT INTO "reconcile_locks" VALUES('production',56,4,'here','boot-1','pid:[1]',100,'t100','run-1','apply',1795000120.0,1795000120.0,1795000180.0);
CREATE TABLE reconcile_marks (
	segment_key BIGINT NOT NULL, 
	id TEXT NOT NULL, 
	mark TEXT NOT NULL, 
	direction TEXT, 
	at DOUBLE NOT NULL, 
	PRIMARY KEY (segment_key, id, mark)
)
 WITHOUT ROWID

;
INSERT INTO "reconcile_marks" VALUES(1,'a','unmatched',NULL,1795000060.0);
INSERT INTO "reconcile_marks" VALUES(1,'e','echo','add',1795000060.0);
INSERT INTO "reconcile_marks" VALUES(1,'r','rejected',NULL,1795000060.0);
INSERT INTO "reconcile_marks" VALUES(1,'u','unsettled','add',1795000060.0);
INSERT INTO "reconcile_marks" VALUES(1,'x','removed',NULL,1795000060.0);
CREATE TABLE reconcile_members (
	segment_key BIGINT NOT NULL, 
	id TEXT NOT NULL, 
	PRIMARY KEY (segment_key, id)
)
 WITHOUT ROWID

;
INSERT INTO "reconcile_members" VALUES(1,'b');
INSERT INTO "reconcile_members" VALUES(1,'e');
INSERT INTO "reconcile_members" VALUES(1,'y');
INSERT INTO "reconcile_members" VALUES(1,'ü\n');
CREATE TABLE reconcile_plans (
	plan_id TEXT NOT NULL, 
	spent_at DOUBLE NOT NULL, 
	PRIMARY KEY (plan_id)
);
INSERT INTO "reconcile_plans" VALUES('plan-0',1795000000.0);
CREATE TABLE reconcile_run_segments (
	run_id TEXT NOT NULL, 
	workspace TEXT NOT NULL, 
	segment_id BIGINT NOT NULL, 
	name TEXT NOT NULL, 
	status TEXT NOT NULL, 
	added BIGINT NOT NULL, 
	removed BIGINT NOT NULL, 
	rejected BIGINT NOT NULL, 
	unsettled BIGINT NOT NULL, 
	PRIMARY KEY (run_id, workspace, segment_id)
);
CREATE TABLE reconcile_runs (
	run_id TEXT NOT NULL, 
	workspace TEXT NOT NULL, 
	command TEXT NOT NULL, 
	started_at DOUBLE NOT NULL, 
	ended_at DOUBLE, 
	exit_code INTEGER, 
	tool_version TEXT NOT NULL, 
	allowed TEXT NOT NULL, 
	plan_id TEXT, 
	document TEXT, 
	PRIMARY KEY (run_id, workspace)
);
INSERT INTO "reconcile_runs" VALUES('run-0','production','apply',1795000000.0,1795000060.0,0,'0.1.0','["max_removals: vip"]',NULL,'{"kind": "run"}');
INSERT INTO "reconcile_runs" VALUES('run-1','production','apply',1795000120.0,NULL,NULL,'0.1.0','[]',NULL,NULL);
CREATE TABLE reconcile_segments (
	workspace TEXT NOT NULL, 
	segment_id BIGINT NOT NULL, 
	segment_key BIGINT NOT NULL, 
	name TEXT NOT NULL, 
	id_type TEXT NOT NULL, 
	lineage TEXT NOT NULL, 
	serial BIGINT NOT NULL, 
	completed_at DOUBLE, 
	confirmed_at DOUBLE, 
	plan_id TEXT, 
	plan_base BIGINT, 
	last_run_id TEXT, 
	last_run_at DOUBLE, 
	PRIMARY KEY (workspace, segment_id), 
	CONSTRAINT reconcile_segments_key UNIQUE (segment_key)
);
INSERT INTO "reconcile_segments" VALUES('production',56,1,'vip','id','ee14af12cb36426d9aad61eb2ae7178c',8,1795000060.0,1795000060.0,NULL,NULL,'run-0',1795000060.0);
CREATE TABLE reconcile_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT reconcile_version_pkc PRIMARY KEY (version_num));
INSERT INTO "reconcile_version" VALUES('0001');
CREATE TABLE reconcile_workspaces (
	name TEXT NOT NULL, 
	environment_id BIGINT NOT NULL, 
	bound_at DOUBLE NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "reconcile_workspaces" VALUES('production',77,1795000000.0);
CREATE INDEX reconcile_batches_segment ON reconcile_batches (segment_key, seq);
CREATE INDEX reconcile_runs_started ON reconcile_runs (workspace, started_at);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('reconcile_keys',1);
INSERT INTO "sqlite_sequence" VALUES('reconcile_batches',6);
COMMIT;
