-- What a raw click becomes on its way to a decision. Views only: tables come from the schemas, inserts are on the job page.
-- Every number written with an E is a DOUBLE; 30.0 would be a DECIMAL and cost five times as much.

-- One row per raw record: its first event, a pulse (code 0) or a rejection (code -1), and any further ones, packed.
CREATE TEMPORARY VIEW cleaned AS
SELECT
  event_time,
  clean(body, CAST(event_time AS TIMESTAMP(3)), `partition`, `offset`) AS c
FROM clicks;

-- The same, flat.
CREATE TEMPORARY VIEW firsts AS
SELECT
  c.user_id AS user_id,
  c.code AS code,
  c.counts AS counts,
  c.event_key AS event_key,
  c.stamp AS stamp,
  c.robot AS robot,
  c.learn AS learn,
  c.measure AS measure,
  c.clipped AS clipped,
  c.account AS account,
  c.dwell_ms AS dwell_ms,
  c.scroll_permille AS scroll_permille,
  c.lane AS lane,
  c.mark AS mark,
  c.mood AS mood,
  c.stride AS stride,
  c.clicked AS clicked,
  c.context AS context,
  c.asked AS asked,
  c.met AS met,
  c.record AS record,
  c.others AS others,
  c.at_ms AS at_ms,
  event_time
FROM cleaned;

-- One row per further event of a record that holds several: a batch, a page's list.
CREATE TEMPORARY VIEW others AS
SELECT at_ms, event_time, unpack(packed) AS c
FROM firsts CROSS JOIN UNNEST(others) AS further (packed);

-- One row per event, pulse or rejection.
CREATE TEMPORARY VIEW readings AS
SELECT
  user_id, code, counts, event_key, stamp, robot, learn, measure, clipped, account, dwell_ms, scroll_permille, lane,
  mark, mood, stride, clicked, context, asked, met, record, at_ms, event_time
FROM firsts
UNION ALL
SELECT
  c.user_id, c.code, c.counts, c.event_key, c.stamp, c.robot, c.learn, c.measure, c.clipped, c.account, c.dwell_ms,
  c.scroll_permille, c.lane, c.mark, c.mood, c.stride, c.clicked, c.context, c.asked, c.met, c.record,
  at_ms, event_time
FROM others;

-- One row per event that has an id, with the time at which the same id came before. The order is that of event time, so
-- the earliest wins whatever partition it lies in; of several in one millisecond, which see one another as before, the
-- greatest stamp is the first record's. What comes too late for its window comes too late for this.
CREATE TEMPORARY VIEW recognised AS
SELECT
  *,
  LAG(at_ms) OVER w AS before_ms,
  MAX(stamp) OVER w AS first_stamp
FROM readings
WHERE event_key <> 0 AND COALESCE(event_time > CURRENT_WATERMARK(event_time), TRUE)
WINDOW w AS (PARTITION BY event_key ORDER BY event_time);

-- The same, saying whether the event came before.
CREATE TEMPORARY VIEW compared AS
SELECT
  *,
  CASE WHEN before_ms = at_ms THEN stamp <> first_stamp ELSE COALESCE(at_ms - before_ms <= ${duplicates_ms}, FALSE) END
    AS repeated
FROM recognised;

-- One row per event, pulse or rejection, each once.
CREATE TEMPORARY VIEW once AS
SELECT
  user_id, code, counts, robot, learn, measure, clipped, account, dwell_ms, scroll_permille, lane, mark, mood, clicked,
  context, asked, met, record, at_ms, event_time
FROM readings
WHERE event_key = 0 OR NOT COALESCE(event_time > CURRENT_WATERMARK(event_time), TRUE)
UNION ALL
SELECT
  user_id, code, counts, robot, learn, measure, clipped, account, dwell_ms, scroll_permille, lane, mark, mood, clicked,
  context, asked, met, record, at_ms, event_time
FROM compared
WHERE NOT repeated;

-- One row per sign that a user is there. One in each stretch would do, and few come more often; a copy is one too.
CREATE TEMPORARY VIEW signs AS
SELECT user_id, event_time FROM readings WHERE stride;

-- One row per user and stretch (half a pause) in which they were there.
CREATE TEMPORARY VIEW strides AS
SELECT user_id, COUNT(*) AS signs, window_time AS stride_time
FROM TABLE(TUMBLE(TABLE signs, DESCRIPTOR(event_time), ${stride}))
GROUP BY user_id, window_start, window_end, window_time;

-- One row per user and time that they fall silent: for a pause ...
CREATE TEMPORARY VIEW paused AS
SELECT user_id, COUNT(*) AS strides, window_time AS quiet_time
FROM TABLE(SESSION(TABLE strides PARTITION BY user_id, DESCRIPTOR(stride_time), ${pause}))
GROUP BY user_id, window_start, window_end, window_time;

-- ... for so long that their session is over ...
CREATE TEMPORARY VIEW departed AS
SELECT user_id, COUNT(*) AS strides, window_time AS quiet_time
FROM TABLE(SESSION(TABLE strides PARTITION BY user_id, DESCRIPTOR(stride_time), ${session_gap}))
GROUP BY user_id, window_start, window_end, window_time;

-- ... for so long that they may not come back ...
CREATE TEMPORARY VIEW gone AS
SELECT user_id, COUNT(*) AS strides, window_time AS quiet_time
FROM TABLE(SESSION(TABLE strides PARTITION BY user_id, DESCRIPTOR(stride_time), ${gone}))
GROUP BY user_id, window_start, window_end, window_time;

-- ... and for so long that they are forgotten.
CREATE TEMPORARY VIEW lapsed AS
SELECT user_id, COUNT(*) AS strides, window_time AS quiet_time
FROM TABLE(SESSION(TABLE strides PARTITION BY user_id, DESCRIPTOR(stride_time), ${memory}))
GROUP BY user_id, window_start, window_end, window_time;

-- One row per silence that has lasted by now, with its code.
CREATE TEMPORARY VIEW silences AS
SELECT user_id, CAST(${quiet_code} AS TINYINT) AS code, quiet_time FROM paused
UNION ALL
SELECT user_id, CAST(${quiet_code} AS TINYINT), quiet_time FROM departed
UNION ALL
SELECT user_id, CAST(${quiet_code} AS TINYINT), quiet_time FROM gone
UNION ALL
SELECT user_id, CAST(${lapsed_code} AS TINYINT), quiet_time FROM lapsed;

-- One row per silence, or request to forget a person: what no tracker says. Where a topic that is read once ends, so
-- does its clock: a silence that it does not tell of may not be one.
CREATE TEMPORARY VIEW tidings AS
SELECT user_id, code, quiet_time AS event_time FROM silences WHERE quiet_time <= TO_TIMESTAMP_LTZ(${until_ms}, 3)
UNION ALL
SELECT user_id, CAST(${erase_code} AS TINYINT), event_time FROM control WHERE action = 'erase';

-- One row per event that counts, pulse, or tiding.
CREATE TEMPORARY VIEW heard AS
SELECT
  user_id, code, robot, learn, measure, clipped, account, dwell_ms, scroll_permille, lane, mark, mood, clicked, context,
  asked, met, at_ms, event_time
FROM once
WHERE counts
UNION ALL
SELECT
  user_id, code,
  FALSE, TRUE, TRUE, FALSE,
  CAST(NULL AS STRING),
  0,
  CAST(0 AS SMALLINT),
  CAST(${no_lane} AS TINYINT),
  CAST(0 AS BIGINT),
  CAST(${no_mood} AS SMALLINT),
  CAST(NULL AS STRING),
  CAST(NULL AS STRING),
  CAST(NULL AS STRING),
  CAST(NULL AS STRING),
  TIMESTAMPDIFF(SECOND, TIMESTAMP '1970-01-01 00:00:00', CAST(event_time AS TIMESTAMP(3))) * CAST(1000 AS BIGINT)
    + EXTRACT(MILLISECOND FROM CAST(event_time AS TIMESTAMP(3))),
  event_time
FROM tidings;

-- One row per user and slice. Counts, integer sums and extremes only, so the order inside a slice does not matter.
-- A tiding is no event: a slice may hold none.
CREATE TEMPORARY VIEW slices AS
SELECT
  user_id,
  (MIN(at_ms) / ${slice_ms} + 1) * ${slice_ms} AS slice_end,
  window_time AS slice_time,
  MIN(at_ms) FILTER (WHERE code <= ${withdrawn_code}) AS first_ms,
  MAX(at_ms) FILTER (WHERE code <= ${withdrawn_code}) AS last_ms,
  MIN(at_ms) FILTER (WHERE code = 1) AS first_view_ms,
  MAX(at_ms) FILTER (WHERE code = 1) AS last_view_ms,
  MIN(at_ms) FILTER (WHERE code = 2) AS first_click_ms,
  MIN(at_ms) FILTER (WHERE code = 16) AS first_back_ms,
  COUNT(*) FILTER (WHERE code <= ${withdrawn_code}) AS events,
  COUNT(*) FILTER (WHERE code = 1) AS n_view,
  COUNT(*) FILTER (WHERE code = 2) AS n_click,
  COUNT(*) FILTER (WHERE code = 3) AS n_scroll,
  COUNT(*) FILTER (WHERE code = 4) AS n_hover,
  COUNT(*) FILTER (WHERE code = 5) AS n_dwell,
  COUNT(*) FILTER (WHERE code = 6) AS n_search,
  COUNT(*) FILTER (WHERE code = 7) AS n_cart,
  COUNT(*) FILTER (WHERE code = 8) AS n_purchase,
  COUNT(*) FILTER (WHERE code = 9) AS n_rate,
  COUNT(*) FILTER (WHERE code = 10) AS n_form,
  COUNT(*) FILTER (WHERE code = 11) AS n_rage,
  COUNT(*) FILTER (WHERE code = 12) AS n_error,
  COUNT(*) FILTER (WHERE code = 13) AS n_exposure,
  COUNT(*) FILTER (WHERE code = 16) AS n_back,
  COUNT(*) FILTER (WHERE code = 17) AS n_sentiment,
  COUNT(*) FILTER (WHERE code IN (${urgent})) AS urgents,
  COUNT(*) FILTER (WHERE code IN (${erase_code}, ${withdrawn_code})) AS farewells,
  COUNT(*) FILTER (WHERE code = ${erase_code}) AS erasures,
  COUNT(*) FILTER (WHERE code = ${quiet_code}) AS quiets,
  COUNT(*) FILTER (WHERE code = ${lapsed_code}) AS lapses,
  COUNT(*) FILTER (WHERE robot) AS robots,
  COUNT(*) FILTER (WHERE NOT learn) AS unlearned,
  COUNT(*) FILTER (WHERE NOT measure) AS unmeasured,
  COUNT(*) FILTER (WHERE clipped) AS n_clipped,
  COUNT(*) FILTER (WHERE mood <> ${no_mood}) AS moods,
  SUM(CASE WHEN mood = ${no_mood} THEN 0 ELSE CAST(mood AS BIGINT) END) AS mood,
  SUM(CAST(dwell_ms AS BIGINT)) AS dwell_ms,
  MAX(CAST(scroll_permille AS BIGINT)) AS scroll_permille,
  MAX(clicked) AS clicked,
  MAX(context) AS context,
  MAX(asked) AS asked,
  LISTAGG(met, ${between}) AS met,
  MAX(account) AS account,
  SUM(CASE WHEN lane = 0 THEN mark ELSE 0 END) AS shown_0,
  SUM(CASE WHEN lane = 1 THEN mark ELSE 0 END) AS shown_1,
  SUM(CASE WHEN lane = 10 THEN mark ELSE 0 END) AS fields_0,
  SUM(CASE WHEN lane = 11 THEN mark ELSE 0 END) AS fields_1,
  SUM(CASE WHEN lane = 12 THEN mark ELSE 0 END) AS fields_2,
  SUM(CASE WHEN lane = 13 THEN mark ELSE 0 END) AS fields_3,
  SUM(CASE WHEN lane = 20 THEN mark ELSE 0 END) AS liking_0,
  SUM(CASE WHEN lane = 21 THEN mark ELSE 0 END) AS liking_1,
  SUM(CASE WHEN lane = 22 THEN mark ELSE 0 END) AS liking_2,
  SUM(CASE WHEN lane = 23 THEN mark ELSE 0 END) AS liking_3,
  SUM(CASE WHEN lane = 24 THEN mark ELSE 0 END) AS liking_4,
  SUM(CASE WHEN lane = 25 THEN mark ELSE 0 END) AS liking_5
FROM TABLE(TUMBLE(TABLE heard, DESCRIPTOR(event_time), ${slice}))
GROUP BY user_id, window_start, window_end, window_time;

-- One row per user and slice, with its engagement in thousandths of a point: an integer, so that sums are exact. What
-- nothing after this looks at travels in one column.
CREATE TEMPORARY VIEW engaged AS
SELECT
  user_id, slice_end, slice_time, first_ms, last_ms, first_view_ms, last_view_ms, first_click_ms, first_back_ms, events,
  n_view, n_click, n_search, n_cart, n_purchase, n_form, n_rage, n_error, n_hover, moods, mood, dwell_ms,
  scroll_permille, clicked, context, asked, met, account, erasures, quiets, lapses, robots, urgents, shown_0, shown_1,
  fields_0, fields_1, fields_2, fields_3, liking_0, liking_1, liking_2, liking_3, liking_4, liking_5,
  n_view * ${view} + n_click * ${click} + n_hover * ${hover} + n_search * ${search} + n_cart * ${cart}
    + n_purchase * ${purchase} + n_rate * ${rate} + n_form * ${form} + n_rage * ${rage} + n_error * ${error}
    + CAST(dwell_ms * ${per_dwell_ms} AS BIGINT) + CAST(scroll_permille * ${per_scroll_permille} AS BIGINT) AS points,
  n_click + n_search + n_cart + n_purchase + n_rate + n_form AS actions,
  farewells > 0 AS farewell,
  last_ms * 4 + CASE WHEN unlearned > 0 THEN 2 ELSE 0 END + CASE WHEN unmeasured > 0 THEN 1 ELSE 0 END AS refusals,
  ARRAY[
    events, n_view, n_click, n_scroll, n_hover, n_dwell, n_search, n_cart, n_purchase, n_rate, n_form, n_rage, n_error,
    n_exposure, n_back, n_sentiment, moods, mood, dwell_ms, scroll_permille, n_clipped
  ] AS counted,
  PROCTIME() AS arrival
FROM slices;

-- One row per user and slice, with what came before it. Slices leave their window in event-time order, so arrival
-- order is event-time order, and these sums are a pure function of the log. Between two events at most three
-- slices hold none: a pause, a departure, and one of who is gone.
CREATE TEMPORARY VIEW recalled AS
SELECT
  *,
  COALESCE(
    LAG(last_ms) OVER w, LAG(last_ms, 2) OVER w, LAG(last_ms, 3) OVER w, LAG(last_ms, 4) OVER w
  ) AS before_ms,
  LAG(last_view_ms) OVER w AS before_view_ms,
  MAX(CASE WHEN erasures > 0 THEN slice_end END) OVER w AS erased,
  MAX(CASE WHEN farewell OR lapses > 0 THEN slice_end END) OVER w AS ended,
  MAX(CASE WHEN robots > 0 OR events > ${robot_events} THEN slice_end END) OVER w AS betrayed,
  MAX(account) OVER w AS last_account,
  SUM(n_cart) OVER w AS all_carts,
  SUM(shown_0) OVER w AS all_shown_0,
  SUM(shown_1) OVER w AS all_shown_1
FROM engaged
WINDOW w AS (PARTITION BY user_id ORDER BY arrival);

-- One row per user and slice, with the moment from which on there is memory: the last farewell or lapse, or the end of
-- a tombstone. What an erased person does while it stands ends here.
CREATE TEMPORARY VIEW minded AS
SELECT
  *,
  GREATEST(COALESCE(ended, 0), COALESCE(erased + ${tombstone_ms}, 0)) AS memory
FROM recalled
WHERE erased IS NULL OR slice_end = erased OR slice_end - erased > ${tombstone_ms};

-- One row per user and slice, with the last event of that memory, and whether a session or a day begins here. A lapse
-- has done its work; a silence of somebody who is not remembered is none.
CREATE TEMPORARY VIEW known AS
SELECT
  *,
  CASE WHEN before_ms >= memory THEN before_ms END AS prev_ms,
  CASE WHEN before_view_ms >= memory THEN before_view_ms END AS prev_view_ms,
  events > 0 AND NOT farewell AND (before_ms IS NULL OR before_ms < memory OR first_ms - before_ms > ${session_gap_ms})
    AS new_session,
  before_ms IS NULL OR before_ms < memory OR before_ms / ${day_ms} < (slice_end - 1) / ${day_ms} AS new_day
FROM minded
WHERE events > 0 OR farewell OR (quiets > 0 AND before_ms >= memory);

-- One row per user and slice, with what is remembered of the person, and when their session began. A new memory begins a
-- partition of its own, so there is nothing to take back; and so does a farewell, whose slice neither memory may know.
CREATE TEMPORARY VIEW remembered AS
SELECT
  *,
  MAX(CASE WHEN new_session THEN first_ms END) OVER w AS began,
  MAX(CASE WHEN new_session THEN prev_ms END) OVER w AS previous_ms,
  MIN(first_ms) OVER w AS born,
  COUNT(CASE WHEN new_session THEN 1 END) OVER w AS sessions,
  SUM(CASE WHEN new_session THEN COALESCE(first_ms - prev_ms, 0) ELSE 0 END) OVER w AS gaps_ms,
  COUNT(CASE WHEN events > 0 THEN 1 END) OVER w AS life_slices,
  SUM(points) OVER w AS life_points,
  SUM(points * points) OVER w AS life_squares,
  SUM(moods) OVER w AS life_moods,
  SUM(mood) OVER w AS life_mood,
  SUM(liking_0) OVER w AS life_liking_p0,
  SUM(liking_1) OVER w AS life_liking_p1,
  SUM(liking_2) OVER w AS life_liking_p2,
  SUM(liking_3) OVER w AS life_liking_p3,
  SUM(liking_4) OVER w AS life_liking_p4,
  SUM(liking_5) OVER w AS life_liking_p5,
  MIN(all_carts - n_cart) OVER w AS carts_before,
  MIN(all_shown_0 - shown_0) OVER w AS shown_before_0,
  MIN(all_shown_1 - shown_1) OVER w AS shown_before_1,
  MAX(CASE WHEN new_day THEN all_shown_0 - shown_0 END) OVER w AS shown_till_0,
  MAX(CASE WHEN new_day THEN all_shown_1 - shown_1 END) OVER w AS shown_till_1,
  MAX(CASE WHEN MOD(shown_0, ${second}) > 0 THEN last_ms END) OVER w AS shown_ms_0,
  MAX(CASE WHEN MOD(shown_0 / ${second}, ${second}) > 0 THEN last_ms END) OVER w AS shown_ms_1,
  MAX(CASE WHEN shown_0 / ${third} > 0 THEN last_ms END) OVER w AS shown_ms_2,
  MAX(CASE WHEN MOD(shown_1, ${second}) > 0 THEN last_ms END) OVER w AS shown_ms_3,
  MAX(CASE WHEN MOD(shown_1 / ${second}, ${second}) > 0 THEN last_ms END) OVER w AS shown_ms_4,
  MAX(CASE WHEN shown_1 / ${third} > 0 THEN last_ms END) OVER w AS shown_ms_5,
  MAX(CASE WHEN n_purchase > 0 THEN all_carts END) OVER w AS carts_bought,
  MAX(CASE WHEN n_cart > 0 THEN last_ms END) OVER w AS cart_ms,
  MAX(CASE WHEN n_search > 0 THEN last_ms END) OVER w AS search_ms,
  MAX(CASE WHEN n_click > 0 THEN last_ms END) OVER w AS click_ms,
  MAX(CASE WHEN n_purchase > 0 THEN last_ms END) OVER w AS purchase_ms,
  MAX(prev_view_ms) OVER w AS seen_ms,
  MAX(refusals) OVER w AS last_refusals,
  MAX(clicked) OVER w AS last_clicked,
  MAX(context) OVER w AS last_context
FROM known
WINDOW w AS (PARTITION BY user_id, memory, farewell ORDER BY arrival ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);

-- One row per user and slice, with how long the person took to react to the page they saw: to click, or to turn back.
-- Of the pages of the slice itself only the first is known.
CREATE TEMPORARY VIEW reacted AS
SELECT
  *,
  COALESCE(began, first_ms, slice_end - 1) / ${slice_ms} * ${slice_ms} AS session_start_ms,
  first_click_ms - CASE WHEN first_view_ms <= first_click_ms THEN first_view_ms ELSE seen_ms END AS response_ms,
  first_back_ms - CASE WHEN first_view_ms <= first_back_ms THEN first_view_ms ELSE seen_ms END <= ${quick_back_ms}
    IS TRUE AS quick_back
FROM remembered;

-- One row per user and slice, with the slice-grid start of its session (a longer one than the cap is cut, so that no
-- exponent overflows; of who is long gone there is none), and how strong the slice's engagement is, in classes.
CREATE TEMPORARY VIEW dated AS
SELECT
  *,
  CASE
    WHEN events = 0 AND slice_end - prev_ms > ${departed_ms} THEN slice_end - ${slice_ms}
    ELSE session_start_ms + ((slice_end - 1 - session_start_ms) / ${session_cap_ms}) * ${session_cap_ms}
  END AS landmark,
  CASE
    WHEN events = 0 THEN -1
    WHEN points <= ${strength_0} THEN 0
    WHEN points <= ${strength_1} THEN 1
    WHEN points <= ${strength_2} THEN 2
    WHEN points <= ${strength_3} THEN 3
    WHEN points <= ${strength_4} THEN 4
    WHEN points <= ${strength_5} THEN 5
    WHEN points <= ${strength_6} THEN 6
    ELSE 7
  END AS strength,
  CASE WHEN scroll_permille = 0 THEN -1 ELSE LEAST((scroll_permille - 1) / ${depth_permille}, 5) END AS depth
FROM reacted;

-- One row per user and slice, with its session's counts and fading sums: forward decay, so that a sum only ever grows.
-- Small counts are packed three to a number, see schemas/slices.py.
CREATE TEMPORARY VIEW fading AS
SELECT
  *,
  COUNT(CASE WHEN events > 0 THEN 1 END) OVER w AS session_slices,
  SUM(events) OVER w AS session_events,
  SUM(actions) OVER w AS session_actions,
  SUM(dwell_ms) OVER w AS session_dwell_ms,
  SUM(mood) OVER w AS session_mood,
  SUM(COALESCE(response_ms, 0)) OVER w AS session_response_ms,
  SUM(n_click + n_view * ${second} + n_search * ${third}) OVER w AS kinds_0,
  SUM(n_cart + n_purchase * ${second} + n_form * ${third}) OVER w AS kinds_1,
  SUM(n_rage + n_error * ${second} + CASE WHEN quick_back THEN ${third} ELSE 0 END) OVER w AS kinds_2,
  SUM(n_hover + CASE WHEN response_ms >= 0 THEN ${second} ELSE 0 END + moods * ${third}) OVER w AS kinds_3,
  LISTAGG(met, ${between}) OVER w AS session_met,
  SUM(shown_0) OVER w AS session_shown_0,
  SUM(shown_1) OVER w AS session_shown_1,
  SUM(CASE strength WHEN 0 THEN 1 WHEN 1 THEN ${second} WHEN 2 THEN ${third} ELSE 0 END) OVER w AS tally_p0,
  SUM(CASE strength WHEN 3 THEN 1 WHEN 4 THEN ${second} WHEN 5 THEN ${third} ELSE 0 END) OVER w AS tally_p1,
  SUM(CASE strength WHEN 6 THEN 1 WHEN 7 THEN ${second} ELSE 0 END) OVER w AS tally_p2,
  SUM(CASE depth WHEN 0 THEN 1 WHEN 1 THEN ${second} WHEN 2 THEN ${third} ELSE 0 END) OVER w AS depth_p0,
  SUM(CASE depth WHEN 3 THEN 1 WHEN 4 THEN ${second} WHEN 5 THEN ${third} ELSE 0 END) OVER w AS depth_p1,
  SUM(fields_0) OVER w AS session_fields_p0,
  SUM(fields_1) OVER w AS session_fields_p1,
  SUM(fields_2) OVER w AS session_fields_p2,
  SUM(fields_3) OVER w AS session_fields_p3,
  SUM(liking_0) OVER w AS session_liking_p0,
  SUM(liking_1) OVER w AS session_liking_p1,
  SUM(liking_2) OVER w AS session_liking_p2,
  SUM(liking_3) OVER w AS session_liking_p3,
  SUM(liking_4) OVER w AS session_liking_p4,
  SUM(liking_5) OVER w AS session_liking_p5,
  SUM(points / 1E3 * EXP((slice_end - landmark) / ${fast_ms})) OVER w AS fading_fast,
  SUM(points / 1E3 * EXP((slice_end - landmark) / ${mid_ms})) OVER w AS fading_mid,
  SUM(points / 1E3 * EXP((slice_end - landmark) / ${slow_ms})) OVER w AS fading_slow,
  SUM(CASE WHEN events = 0 THEN 0E0 ELSE EXP((slice_end - landmark) / ${mid_ms}) END) OVER w AS fading_slices,
  SUM(CASE WHEN events = 0 THEN 0E0 ELSE EXP((slice_end - landmark) * 2E0 / ${mid_ms}) END) OVER w AS fading_squares,
  SUM(
    (n_rage + n_error + CASE WHEN quick_back THEN 1 ELSE 0 END) * EXP((slice_end - landmark) / ${mid_ms})
  ) OVER w AS fading_trouble
FROM dated
WINDOW w AS (PARTITION BY user_id, landmark ORDER BY arrival ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);

-- One row per user and slice: all that is known of the person at its end, by type. Numbers travel as arrays, for a
-- column costs a bundle 20 us on its way to Python, whatever is in it.
CREATE TEMPORARY VIEW moments AS
SELECT
  user_id,
  slice_end,
  slice_time,
  born,
  farewell,
  -- The first of each stretch of the refresh grid, any with an urgent kind, any silence or farewell, and the pulses,
  -- which carry the heartbeat. A slice lies in the stretch in which it ends, right after its last event's slice began.
  user_id = '' OR urgents > 0 OR events = 0 OR farewell OR prev_ms IS NULL
    OR (slice_end - 1) / ${refresh_ms} <> ((prev_ms / ${slice_ms} + 1) * ${slice_ms} - 1) / ${refresh_ms} AS due,
  COALESCE((prev_ms / ${slice_ms} + 1) * ${slice_ms}, 0) AS prev_end,
  COALESCE(SUBSTRING(last_clicked FROM 15), '') AS clicked,
  COALESCE(SUBSTRING(last_context FROM 15), '') AS context,
  COALESCE(SUBSTRING(asked FROM 15), '') AS asked,
  COALESCE(session_met, '') AS met,
  -- A farewell still needs the account, whose card goes too.
  CASE
    WHEN farewell OR CAST(SUBSTRING(last_account FROM 1 FOR 14) AS BIGINT) >= memory
      THEN COALESCE(SUBSTRING(last_account FROM 15), '')
    ELSE ''
  END AS account,
  counted,
  ARRAY[
    slice_end, COALESCE(first_ms, slice_end - 1), COALESCE(last_ms, prev_ms, slice_end - 1), points,
    COALESCE(prev_ms, 0), GREATEST(COALESCE(began, first_ms, slice_end - 1), landmark), landmark,
    session_slices, session_events, session_dwell_ms, session_mood, session_response_ms,
    kinds_0, kinds_1, kinds_2, kinds_3, session_shown_0, session_shown_1, tally_p0, tally_p1, tally_p2, depth_p0, depth_p1,
    session_fields_p0, session_fields_p1, session_fields_p2, session_fields_p3,
    session_liking_p0, session_liking_p1, session_liking_p2, session_liking_p3, session_liking_p4, session_liking_p5,
    COALESCE(born, slice_end - 1), sessions, COALESCE(began - previous_ms, 0), gaps_ms, life_slices, life_points, life_squares, life_moods, life_mood,
    life_liking_p0, life_liking_p1, life_liking_p2, life_liking_p3, life_liking_p4, life_liking_p5,
    all_carts - GREATEST(carts_before, COALESCE(carts_bought, 0)),
    COALESCE(cart_ms, 0), COALESCE(search_ms, 0), COALESCE(click_ms, 0), COALESCE(purchase_ms, 0),
    all_shown_0 - shown_till_0, all_shown_1 - shown_till_1, all_shown_0 - shown_before_0, all_shown_1 - shown_before_1,
    COALESCE(shown_ms_0, 0), COALESCE(shown_ms_1, 0), COALESCE(shown_ms_2, 0),
    COALESCE(shown_ms_3, 0), COALESCE(shown_ms_4, 0), COALESCE(shown_ms_5, 0),
    COALESCE(response_ms, -1), CASE WHEN quick_back THEN 1 ELSE 0 END, MOD(COALESCE(last_refusals, 0), 4)
  ] AS summed,
  ARRAY[farewell, slice_end - betrayed <= ${robot_ms} IS TRUE OR session_actions > ${robot_actions}] AS flags,
  ARRAY[fading_fast, fading_mid, fading_slow, fading_slices, fading_squares, fading_trouble] AS reals
FROM fading;

-- One row per user and slice, with which rule segments it speaks for and against, two bits each: enter, leave; and which
-- cases of rules, of those that have to hold for a while, do not hold, a bit each.
CREATE TEMPORARY VIEW observed AS
SELECT *, observe(context, counted, summed, flags, reals) AS bits
FROM moments;

-- One row per user and slice, with when each of these last was so. By event time: who has several sessions comes from
-- several subtasks.
CREATE TEMPORARY VIEW held AS
SELECT
  *,
  LAG(bits) OVER w AS bits_before,
  MAX(CASE WHEN MOD(bits, 2) = 1 THEN slice_end END) OVER w AS in_0,
  MAX(CASE WHEN MOD(bits / 2, 2) = 1 THEN slice_end END) OVER w AS out_0,
  MAX(CASE WHEN MOD(bits / 4, 2) = 1 THEN slice_end END) OVER w AS in_1,
  MAX(CASE WHEN MOD(bits / 8, 2) = 1 THEN slice_end END) OVER w AS out_1,
  MAX(CASE WHEN MOD(bits / 16, 2) = 1 THEN slice_end END) OVER w AS in_2,
  MAX(CASE WHEN MOD(bits / 32, 2) = 1 THEN slice_end END) OVER w AS out_2,
  MAX(CASE WHEN MOD(bits / 64, 2) = 1 THEN slice_end END) OVER w AS in_3,
  MAX(CASE WHEN MOD(bits / 128, 2) = 1 THEN slice_end END) OVER w AS out_3,
  MAX(CASE WHEN MOD(bits / 256, 2) = 1 THEN slice_end END) OVER w AS in_4,
  MAX(CASE WHEN MOD(bits / 512, 2) = 1 THEN slice_end END) OVER w AS out_4,
  MAX(CASE WHEN MOD(bits / 1024, 2) = 1 THEN slice_end END) OVER w AS in_5,
  MAX(CASE WHEN MOD(bits / 2048, 2) = 1 THEN slice_end END) OVER w AS out_5,
  MAX(CASE WHEN MOD(bits / 4096, 2) = 1 THEN slice_end END) OVER w AS in_6,
  MAX(CASE WHEN MOD(bits / 8192, 2) = 1 THEN slice_end END) OVER w AS out_6,
  MAX(CASE WHEN MOD(bits / 16384, 2) = 1 THEN slice_end END) OVER w AS in_7,
  MAX(CASE WHEN MOD(bits / 32768, 2) = 1 THEN slice_end END) OVER w AS out_7,
  MAX(CASE WHEN MOD(bits / 65536, 2) = 1 THEN slice_end END) OVER w AS unheld_0,
  MAX(CASE WHEN MOD(bits / 131072, 2) = 1 THEN slice_end END) OVER w AS unheld_1,
  MAX(CASE WHEN MOD(bits / 262144, 2) = 1 THEN slice_end END) OVER w AS unheld_2,
  MAX(CASE WHEN MOD(bits / 524288, 2) = 1 THEN slice_end END) OVER w AS unheld_3
FROM observed
WINDOW w AS (PARTITION BY user_id ORDER BY slice_time);

-- One row per user and slice in which something is to be decided: those that are due anyway, and those in which a
-- segment may change: what speaks for it or against it has just begun to, or has spoken for long enough. Against
-- somebody who was never spoken against speaks the time before they were known.
CREATE TEMPORARY VIEW due AS
SELECT
  user_id, slice_end, farewell, clicked, context, account, asked, met, counted, summed, flags, reals,
  ARRAY[
    bits, COALESCE(in_0, 0), COALESCE(out_0, 0), COALESCE(in_1, 0), COALESCE(out_1, 0), COALESCE(in_2, 0),
    COALESCE(out_2, 0), COALESCE(in_3, 0), COALESCE(out_3, 0), COALESCE(in_4, 0), COALESCE(out_4, 0),
    COALESCE(in_5, 0), COALESCE(out_5, 0), COALESCE(in_6, 0), COALESCE(out_6, 0), COALESCE(in_7, 0), COALESCE(out_7, 0),
    COALESCE(unheld_0, 0), COALESCE(unheld_1, 0), COALESCE(unheld_2, 0), COALESCE(unheld_3, 0)
  ] AS spoken
FROM held
WHERE
  due
  OR (in_0 = slice_end AND (
    MOD(bits_before, 2) = 0
    OR slice_end - GREATEST(COALESCE(out_0, 0), born) >= ${hold_0}
      AND prev_end - GREATEST(COALESCE(out_0, 0), born) < ${hold_0}))
  OR (out_0 = slice_end AND MOD(bits_before / 2, 2) = 0)
  OR (in_1 = slice_end AND (
    MOD(bits_before / 4, 2) = 0
    OR slice_end - GREATEST(COALESCE(out_1, 0), born) >= ${hold_1}
      AND prev_end - GREATEST(COALESCE(out_1, 0), born) < ${hold_1}))
  OR (out_1 = slice_end AND MOD(bits_before / 8, 2) = 0)
  OR (in_2 = slice_end AND (
    MOD(bits_before / 16, 2) = 0
    OR slice_end - GREATEST(COALESCE(out_2, 0), born) >= ${hold_2}
      AND prev_end - GREATEST(COALESCE(out_2, 0), born) < ${hold_2}))
  OR (out_2 = slice_end AND MOD(bits_before / 32, 2) = 0)
  OR (in_3 = slice_end AND (
    MOD(bits_before / 64, 2) = 0
    OR slice_end - GREATEST(COALESCE(out_3, 0), born) >= ${hold_3}
      AND prev_end - GREATEST(COALESCE(out_3, 0), born) < ${hold_3}))
  OR (out_3 = slice_end AND MOD(bits_before / 128, 2) = 0)
  OR (in_4 = slice_end AND (
    MOD(bits_before / 256, 2) = 0
    OR slice_end - GREATEST(COALESCE(out_4, 0), born) >= ${hold_4}
      AND prev_end - GREATEST(COALESCE(out_4, 0), born) < ${hold_4}))
  OR (out_4 = slice_end AND MOD(bits_before / 512, 2) = 0)
  OR (in_5 = slice_end AND (
    MOD(bits_before / 1024, 2) = 0
    OR slice_end - GREATEST(COALESCE(out_5, 0), born) >= ${hold_5}
      AND prev_end - GREATEST(COALESCE(out_5, 0), born) < ${hold_5}))
  OR (out_5 = slice_end AND MOD(bits_before / 2048, 2) = 0)
  OR (in_6 = slice_end AND (
    MOD(bits_before / 4096, 2) = 0
    OR slice_end - GREATEST(COALESCE(out_6, 0), born) >= ${hold_6}
      AND prev_end - GREATEST(COALESCE(out_6, 0), born) < ${hold_6}))
  OR (out_6 = slice_end AND MOD(bits_before / 8192, 2) = 0)
  OR (in_7 = slice_end AND (
    MOD(bits_before / 16384, 2) = 0
    OR slice_end - GREATEST(COALESCE(out_7, 0), born) >= ${hold_7}
      AND prev_end - GREATEST(COALESCE(out_7, 0), born) < ${hold_7}))
  OR (out_7 = slice_end AND MOD(bits_before / 32768, 2) = 0);

-- One row per decision: its record for the topic, and the record of a write to Redis that failed. A pulse, which brings
-- Redis the heartbeat and the card of everybody of whom nothing is known, has neither, nor has a farewell.
CREATE TEMPORARY VIEW decided AS
SELECT
  user_id, slice_end, farewell,
  decide(user_id, clicked, context, account, asked, met, counted, summed, flags, reals, spoken) AS d,
  PROCTIME() AS arrival
FROM due;

-- One row per decision: the segments it was made in.
CREATE TEMPORARY VIEW placed AS
SELECT
  user_id, slice_end, farewell, arrival,
  d.segment AS segment, d.cluster AS cluster
FROM decided;

-- The same, with those of the decision before.
CREATE TEMPORARY VIEW followed AS
SELECT
  *,
  COALESCE(LAG(segment) OVER w, '') AS segment_before,
  COALESCE(LAG(cluster) OVER w, CAST(0 AS BIGINT)) AS cluster_before
FROM placed
WINDOW w AS (PARTITION BY user_id ORDER BY arrival);

-- One row per decision in which a person changed segments, or left for good: what the topic and Redis are told.
CREATE TEMPORARY VIEW moved AS
SELECT
  user_id, slice_end,
  tell(user_id, slice_end, farewell, segment, segment_before, cluster, cluster_before) AS t
FROM followed
WHERE
  user_id <> ''
  AND (farewell OR segment <> segment_before OR cluster <> cluster_before);
