/** Rules for addresses of the make-believe appliance. */

export class AddressRules {
  constructor() {
    const file = { id: null, source: 'file', reason: null, who: 'box.toml', created_ms: 0, expires_ms: null };
    this.rules = [{ ...file, action: 'deny', network: '198.51.100.0/24', site: null }];
    this.scanner = {
      network: '203.0.113.7',
      requests: 41,
      probes: 38,
      examples: ['/.env', '/.git/config', '/wp-login.php'],
      sites: ['blog'],
      last_ms: Date.now() - 60_000,
    };
  }

  /** Answers a call; `null`: there is no such rule. */
  answer(method, [, name], body, url) {
    const from_ms = Date.now() - 3_600_000;
    if (name === 'suggestions') {
      const found = this.rules.some((rule) => rule.network === this.scanner.network) ? [] : [this.scanner];
      return { from_ms, least_probes: 10, least_percent: 50, found };
    }
    if (name === 'trial') {
      const client = url.searchParams.get('network').split('/')[0];
      const example = { at_ms: Date.now(), site: 'blog', client, method: 'GET', path: '/.env', status: 404 };
      const sites = [{ site: 'blog', requests: 12 }];
      const is_own_address = client.startsWith('127.');
      return { from_ms, requests: 12, addresses: 2, sites, examples: [example], is_own_address };
    }
    if (method === 'GET') return this.rules;
    if (method === 'POST') {
      const { lasts_s, ...said } = body;
      const now = Date.now();
      const expires_ms = lasts_s === null ? null : now + lasts_s * 1_000;
      const id = this.rules.length;
      const rule = { ...said, id, source: 'live', who: 'admin', created_ms: now, expires_ms };
      this.rules.unshift(rule);
      return { rule, warnings: [] };
    }
    const index = this.rules.findIndex((rule) => String(rule.id) === name);
    if (index < 0) return null;
    this.rules.splice(index, 1);
    return {};
  }
}
