/** Users, tokens and the audit log of the make-believe appliance. */

import { randomBytes } from 'node:crypto';

const DAY_MS = 86_400_000;

const SCOPES = {
  viewer: ['metrics', 'read'],
  operator: ['metrics', 'read', 'deploy', 'operate'],
  admin: ['metrics', 'read', 'deploy', 'operate', 'admin'],
};

/** What a role may do. */
export function scopesOf(role) {
  return SCOPES[role];
}

export class Access {
  constructor() {
    const now = Date.now();
    this.users = [
      { name: 'admin', role: 'admin', created_ms: now - 90 * DAY_MS, sessions: 1 },
      { name: 'olga', role: 'operator', created_ms: now - 30 * DAY_MS, sessions: 0 },
      { name: 'vera', role: 'viewer', created_ms: now - 3 * DAY_MS, sessions: 2 },
    ];
    this.tokens = [
      {
        name: 'ci',
        user: 'admin',
        scopes: ['deploy'],
        created_ms: now - 9 * DAY_MS,
        expires_ms: now + 81 * DAY_MS,
        used_ms: now - 3_600_000,
      },
      {
        name: 'prometheus',
        user: 'vera',
        scopes: ['metrics'],
        created_ms: now - 100 * DAY_MS,
        expires_ms: now - 10 * DAY_MS,
        used_ms: null,
      },
    ];
    this.entries = [];
    for (let index = 130; index > 0; index -= 1) {
      const [action, status] = [
        ['restart', 200],
        ['login', 401],
        ['deploy', 200],
        ['remove-site', 403],
      ][index % 4];
      this.write({
        action,
        status,
        target: action === 'login' ? null : 'blog',
        at_ms: now - index * 600_000,
      });
    }
  }

  write({ who = 'olga', action, target = null, detail = null, status, at_ms = Date.now() }) {
    const id = this.entries.length + 1;
    const token = action === 'deploy' ? 'ci' : null;
    this.entries.unshift({ id, at_ms, who, token, client: '192.0.2.7', action, target, detail, status });
  }

  /** Answers a call; `null`: there is no such resource. */
  answer(method, [kind, name, more], body, url) {
    const done = (action, target, answer) => {
      this.write({ who: 'admin', action, target, status: 200 });
      return answer;
    };
    if (kind === 'audit') {
      const before = Number(url.searchParams.get('before_id') ?? Infinity);
      return this.entries.filter((entry) => entry.id < before).slice(0, 100);
    }
    const list = kind === 'users' ? this.users : this.tokens;
    if (name === undefined && method === 'GET') return list;
    if (name === undefined && kind === 'users') {
      list.push({ ...body, created_ms: Date.now(), sessions: 0 });
      return done('add-user', body.name, { user: body.name, password: 'kq7wn3xtbm5ephs8c2vd' });
    }
    if (name === undefined) {
      const { lasts_s, ...token } = body;
      const expires_ms = lasts_s === null ? null : Date.now() + lasts_s * 1_000;
      list.push({ ...token, user: 'admin', created_ms: Date.now(), expires_ms, used_ms: null });
      const secret = `onebox_${randomBytes(32).toString('hex')}`;
      return done('create-token', token.name, { name: token.name, token: secret, expires_ms });
    }
    const index = list.findIndex((one) => one.name === name);
    if (index < 0) return null;
    if (more === 'password') return done('change-password', name, { user: name, password: 'new-password' });
    if (method === 'PATCH') list[index].role = body.role;
    else list.splice(index, 1);
    return done(method === 'PATCH' ? 'change-role' : 'remove', name, {});
  }
}
