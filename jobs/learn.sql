-- What decisions, exposures and what people did become on their way to an outcome. Views only: tables come from the schemas,
-- inserts are on the job page.

-- One row per decision, whether in time or not. The first id in a record is that of its first slot: before it stand
-- numbers, the names of fields, and a pseudonym.
CREATE TEMPORARY VIEW made AS
SELECT
  record AS decision,
  SUBSTRING(record FROM POSITION('"id":"' IN record) + 6 FOR 12) AS moment,
  POSITION('"id":"' IN record) > 0 AS readable,
  COALESCE(event_time <= CURRENT_WATERMARK(event_time), FALSE) AS late,
  TIMESTAMPDIFF(SECOND, TIMESTAMP '1970-01-01 00:00:00', CAST(event_time AS TIMESTAMP(3))) * CAST(1000 AS BIGINT)
    + EXTRACT(MILLISECOND FROM CAST(event_time AS TIMESTAMP(3))) AS at_ms,
  `partition`,
  `offset`,
  event_time
FROM decisions;

-- One row per event, whether in time or not, with its kind: before it stand a number and a pseudonym.
CREATE TEMPORARY VIEW done AS
SELECT
  record,
  SPLIT_INDEX(SUBSTRING(record FROM POSITION('"kind":"' IN record) + 8 FOR 16), '"', 0) AS kind,
  POSITION('"kind":"' IN record) > 0 AS readable,
  COALESCE(event_time <= CURRENT_WATERMARK(event_time), FALSE) AS late,
  TIMESTAMPDIFF(SECOND, TIMESTAMP '1970-01-01 00:00:00', CAST(event_time AS TIMESTAMP(3))) * CAST(1000 AS BIGINT)
    + EXTRACT(MILLISECOND FROM CAST(event_time AS TIMESTAMP(3))) AS at_ms,
  `partition`,
  `offset`,
  event_time
FROM events;

-- One row per exposure that quotes a decision, in time, of a person who may be named, and not of long ago.
CREATE TEMPORARY VIEW exposures AS
SELECT id, SUBSTRING(id FROM 1 FOR 12) AS moment, record AS exposure, at_ms, event_time
FROM (
  SELECT JSON_VALUE(record, '$.decision_id') AS id, record, at_ms, event_time
  FROM done
  WHERE
    kind = 'exposure'
    AND NOT late
    AND record IS JSON OBJECT
    AND JSON_VALUE(record, '$.user_id') <> ${anonymous}
    AND JSON_VALUE(record, '$.late') IS DISTINCT FROM 'true'
    AND JSON_VALUE(record, '$.robot') IS DISTINCT FROM 'true'
)
WHERE SUBSTRING(id FROM 13 FOR 1) = '.';

-- The same, with how many there have been of that decision and slot, and the sum of their times.
CREATE TEMPORARY VIEW repeated AS
SELECT
  id, moment, exposure, at_ms, event_time,
  COUNT(*) OVER w AS times,
  SUM(at_ms) OVER w AS times_ms
FROM exposures
WINDOW w AS (PARTITION BY id ORDER BY event_time RANGE BETWEEN ${valid} PRECEDING AND CURRENT ROW);

-- One row per exposure in the first millisecond in which a decision and slot was shown: all of them are as old as this one.
CREATE TEMPORARY VIEW firsts AS
SELECT id, moment, exposure, event_time
FROM repeated
WHERE times_ms = times * at_ms;

-- One row per decision and slot that was shown, as soon as it is, with the decision; more where records came twice.
CREATE TEMPORARY VIEW met AS
SELECT x.id, d.decision, x.event_time AS shown_time
FROM firsts x JOIN made d
  ON x.moment = d.moment AND x.event_time BETWEEN d.event_time AND d.event_time + ${valid}
WHERE d.readable AND NOT d.late;

-- One row per decision and slot that was shown, once its time is up: a session of one exposure.
CREATE TEMPORARY VIEW closed AS
SELECT id, MIN(exposure) AS exposure, window_time AS close_time
FROM TABLE(SESSION(TABLE firsts PARTITION BY id, DESCRIPTOR(event_time), ${delay}))
GROUP BY id, window_start, window_end, window_time;

-- One row per event that may be worth something, in time, with how many such its person has done within the window.
CREATE TEMPORARY VIEW counted AS
SELECT
  user_id, record, event_time,
  COUNT(*) OVER (
    PARTITION BY user_id ORDER BY event_time RANGE BETWEEN ${window} PRECEDING AND CURRENT ROW
  ) AS so_far
FROM (
  SELECT JSON_VALUE(record, '$.user_id') AS user_id, record, event_time
  FROM done
  WHERE kind IN (${worth}) AND NOT late AND record IS JSON OBJECT
)
WHERE user_id <> ${anonymous};

-- One row per such event, or decision and slot whose time is up, under who did it or saw it.
CREATE TEMPORARY VIEW told AS
SELECT user_id, record, CAST(NULL AS STRING) AS id, CAST(NULL AS STRING) AS exposure, event_time
FROM counted
WHERE so_far <= ${most_events}
UNION ALL
SELECT JSON_VALUE(exposure, '$.user_id'), CAST(NULL AS STRING), id, exposure, close_time
FROM closed;

-- The same, with what the person has done within the window.
CREATE TEMPORARY VIEW heard AS
SELECT
  id,
  exposure,
  LISTAGG(record, ${apart}) OVER (
    PARTITION BY user_id ORDER BY event_time RANGE BETWEEN ${window} PRECEDING AND CURRENT ROW
  ) AS events,
  event_time AS close_time
FROM told;

-- One row per decision and slot that was shown, once its time is up; more where a decision came twice. They meet exactly
-- a window apart; but a join from one window to one window never ends where a topic does, its clock runs over.
CREATE TEMPORARY VIEW joined AS
SELECT h.id, h.exposure, h.events, m.decision, m.shown_time, h.close_time, PROCTIME() AS arrival
FROM heard h JOIN met m
  ON h.id = m.id AND h.close_time BETWEEN m.shown_time AND m.shown_time + ${window}
WHERE h.id IS NOT NULL AND h.close_time <= TO_TIMESTAMP_LTZ(${until_ms}, 3);

-- One row per decision and slot that was shown, once its time is up, with its outcome, or why there is none.
CREATE TEMPORARY VIEW settled AS
SELECT settle(exposure, events, decision, CAST(shown_time AS TIMESTAMP(3))) AS o, close_time, shown_time
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY id ORDER BY arrival) AS place
  FROM joined
)
WHERE place = 1;

-- One row per outcome, with the time at which it was due.
CREATE TEMPORARY VIEW outcomes_told AS
SELECT o.user_id AS user_id, o.record AS record, close_time AS event_time
FROM settled
WHERE o.record IS NOT NULL;

-- One row per outcome that is drawn into the sample of unsure choices.
CREATE TEMPORARY VIEW doubted AS
SELECT o.user_id AS user_id, o.record AS record, close_time AS event_time
FROM settled
WHERE o.record IS NOT NULL AND o.uncertain;

-- One row per record that no outcome knows of, as the topic of refusals has it.
CREATE TEMPORARY VIEW refused AS
SELECT
  JSON_OBJECT(
    'v' VALUE 1,
    'reason' VALUE CASE WHEN readable THEN 'too_late' ELSE 'unreadable' END,
    'at' VALUE at_ms,
    'detail' VALUE CONCAT('decisions, partition ', CAST(`partition` AS STRING), ', offset ', CAST(`offset` AS STRING))
  ) AS record
FROM made
WHERE late OR NOT readable
UNION ALL
SELECT
  JSON_OBJECT(
    'v' VALUE 1,
    'reason' VALUE CASE WHEN readable AND record IS JSON OBJECT THEN 'too_late' ELSE 'unreadable' END,
    'at' VALUE at_ms,
    'detail' VALUE CONCAT('events, partition ', CAST(`partition` AS STRING), ', offset ', CAST(`offset` AS STRING))
  )
FROM done
WHERE NOT readable OR (kind IN (${wanted}) AND (late OR record IS NOT JSON OBJECT))
UNION ALL
SELECT o.failure FROM settled WHERE o.failure IS NOT NULL;

-- One row per decision, place 0, and per slot of one that was shown, with its place among those of conf, from 1.
CREATE TEMPORARY VIEW marks AS
SELECT 0 AS place, event_time
FROM made
WHERE readable AND NOT late
UNION ALL
SELECT ARRAY_POSITION(ARRAY[${slots}], SUBSTRING(id FROM 14)), shown_time
FROM met;

-- One row per place and window in which there was something.
CREATE TEMPORARY VIEW tallied AS
SELECT place, COUNT(*) AS seen
FROM TABLE(TUMBLE(TABLE marks, DESCRIPTOR(event_time), ${window}))
WHERE place IS NOT NULL
GROUP BY place, window_start, window_end, window_time;

-- One row per outcome that teaches something of an arm, with the time at which it was shown: of that, what came is
-- complete a decision's life earlier than of the time at which it was due.
CREATE TEMPORARY VIEW taught AS
SELECT o.play AS play, shown_time
FROM settled
WHERE o.play IS NOT NULL;

-- One row per period in which something was shown that teaches something: the plays, in any order.
CREATE TEMPORARY VIEW periods AS
SELECT
  TIMESTAMPDIFF(SECOND, TIMESTAMP '1970-01-01 00:00:00', window_end) * CAST(1000 AS BIGINT)
    + EXTRACT(MILLISECOND FROM window_end) AS until_ms,
  LISTAGG(play, ${apart}) AS plays
FROM TABLE(TUMBLE(TABLE taught, DESCRIPTOR(shown_time), ${period}))
GROUP BY window_start, window_end, window_time;

-- One row per period: its sums.
CREATE TEMPORARY VIEW learned AS
SELECT add_up(until_ms, plays) AS record
FROM periods;
