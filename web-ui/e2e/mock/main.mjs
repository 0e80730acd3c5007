/** `npm run mock [-- empty]`: the mock appliance on port 8081, where `npm run dev` looks for it. */

import { PASSWORD, USER, startMock } from './server.mjs';

const mock = await startMock({ scenario: process.argv[2] ?? 'sites', port: 8081 });
process.stdout.write(`${mock.url}  user: ${USER}  password: ${PASSWORD}\n`);
