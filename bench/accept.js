// Open loop: single notifications at a constant rate. k6 sends when the time has come, not when it can.
import http from 'k6/http';
import exec from 'k6/execution';

export const options = {
  scenarios: {
    accept: {
      executor: 'constant-arrival-rate',
      rate: Number(__ENV.RATE),
      timeUnit: '1s',
      duration: `${__ENV.SECONDS}s`,
      preAllocatedVUs: Number(__ENV.CLIENTS),
      maxVUs: Number(__ENV.CLIENTS),
    },
  },
  summaryTrendStats: ['min', 'med', 'p(95)', 'p(99)', 'max', 'count'],
  discardResponseBodies: true,
};

const HEADERS = JSON.parse(__ENV.HEADERS);

export default function () {
  const body = __ENV.BODY.replaceAll('@number@', `${__ENV.PREFIX}${exec.scenario.iterationInTest}`);
  http.post(__ENV.URL, body, { headers: HEADERS });
}

export function handleSummary(data) {
  return { stdout: JSON.stringify(data.metrics) };
}
