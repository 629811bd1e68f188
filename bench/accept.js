// Open loop: single notifications, or batches, at a constant rate, whether or not earlier requests were answered.
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
const ITEMS = Number(__ENV.ITEMS);

function one(number) {
  return __ENV.BODY.replaceAll('@number@', `${__ENV.PREFIX}${number}`);
}

function batch(first) {
  return `{"notifications":[${Array.from({ length: ITEMS }, (_, place) => one(first + place))}]}`;
}

export default function () {
  const first = exec.scenario.iterationInTest * ITEMS;
  http.post(__ENV.URL, ITEMS === 1 ? one(first) : batch(first), { headers: HEADERS });
}

export function handleSummary(data) {
  return { stdout: JSON.stringify(data.metrics) };
}
