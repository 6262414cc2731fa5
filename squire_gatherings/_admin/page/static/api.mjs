// Requests to the admin port, and what goes wrong with them.

export class ApiError extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

export const operator = {
  get name() {
    return localStorage.getItem("operator") ?? "";
  },
  set name(name) {
    localStorage.setItem("operator", name);
  },
};

export async function failure(answer) {
  let problem = {};
  try {
    problem = await answer.json();
  } catch {
    // Somebody between us and the server has answered.
  }
  const why = problem.detail ?? `the server answered with status ${answer.status}`;
  return new ApiError(answer.status, problem.code ?? "", why);
}

async function request(path, asked) {
  let answer;
  try {
    answer = await fetch(path, asked);
  } catch {
    throw new ApiError(0, "unreachable", "the server can't be reached");
  }
  if (!answer.ok) throw await failure(answer);
  return answer.status === 204 ? null : answer.json();
}

export function post(path, body = undefined) {
  const headers = {};
  // A header can't have just any character.
  const name = operator.name.replace(/[^\x20-\x7e]/g, "?");
  if (name) headers["Squire-Operator"] = name;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  return request(path, { method: "POST", headers, body: body && JSON.stringify(body) });
}

const gathering = (id) => `/api/v1/gatherings/${encodeURIComponent(id)}`;

export const act = (id, action, body) => post(`${gathering(id)}/${action}`, body);

export const activity = (id, query) =>
  request(`${gathering(id)}/activity?${new URLSearchParams(query)}`);
