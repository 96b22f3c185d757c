from tests.live import *
from tests.harness import *
async def test_real():
    app=main.create_app(Settings(), engines=FakeEngines(), session_factory=FakeSession, announce=lambda r: None)
    async with running_server(app) as port:
        for kw in ({"dialect":"ga"},{"dialect":"beta"},{"dialect":"ga","marked":False},{"dialect":"beta","marked":False}):
            async with RealtimeClient.connect(realtime_url(port),**kw) as c:
                await c.wait_for("session.created")
                if kw["dialect"]=="ga": await c.update_session(output_modalities=["text"])
                else: await c.update_session(modalities=["text"])
                await c.wait_for("session.updated")
                await c.send({"type":"input_audio_buffer.clear"})
                await c.wait_for("input_audio_buffer.cleared")
                await c.send({"type":"nonsense"}); print(await c.wait_for("error"))
                await c.send_raw(b"x"); print(await c.wait_for("error"))
        async with RealtimeClient.connect(realtime_url(port),opening="beta",headers={"OpenAI-Beta":"realtime=v1"}) as c:
            await c.wait_for("session.created")
            await c.update_session(output_modalities=["text"])
            await c.wait_for("session.updated")
